"""One file per system that is trained: what it builds, its step, its defaults. A new one is a file and a line here."""

from __future__ import annotations

from typing import Any

from getam.recipes.acr import ACRRecipe
from getam.recipes.afa import AFARecipe
from getam.recipes.agreement import AgreementRecipe
from getam.recipes.bas import BASRecipe
from getam.recipes.classifier import ClassifierRecipe
from getam.recipes.ecacl import ECACLRecipe
from getam.recipes.getam import GetamRecipe
from getam.recipes.i2crc import I2CRCRecipe
from getam.recipes.irn import IRNRecipe
from getam.recipes.mdba import MDBARecipe
from getam.recipes.puzzle_cam import PuzzleCAMRecipe
from getam.recipes.self_training import SelfTrainingRecipe
from getam.recipes.sipe import SIPERecipe
from getam.recipes.supervised import SupervisedRecipe
from getam.recipes.um_cam import UMCAMRecipe
from getam.registry import find

RECIPES: dict[str, Any] = {
    recipe.name: recipe
    for recipe in (
        GetamRecipe(),
        SelfTrainingRecipe(),
        AgreementRecipe(),
        SupervisedRecipe(),
        ClassifierRecipe(),
        BASRecipe(),
        AFARecipe(),
        ECACLRecipe(),
        ACRRecipe(),
        UMCAMRecipe(),
        I2CRCRecipe(),
        MDBARecipe(),
        PuzzleCAMRecipe(),
        SIPERecipe(),
    )
}
RECIPES["irn"] = IRNRecipe(RECIPES)  # goes on from any of those that give maps


def find_recipe(name: str) -> Any:
    """The recipe of that name.

    Raises:
        InputError: there is none; the message lists what there is.
    """
    return find("recipe", name, RECIPES)
