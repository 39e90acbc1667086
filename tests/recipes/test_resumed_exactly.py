"""A run that is stopped and continued ends as one that never was: the recipes whose own tests do not say so."""

from pathlib import Path
from typing import Any

import pytest
from halves import Halves, assert_resumed_exactly

from getam.recipes.bas import BASConfig, BASRecipe
from getam.recipes.boundaries import BoundariesConfig, BoundariesRecipe
from getam.recipes.classifier import ClassifierConfig, ClassifierRecipe
from getam.recipes.consensus import ConsensusConfig, ConsensusRecipe
from getam.recipes.ecacl import ECACLConfig, ECACLRecipe
from getam.recipes.supervised import SupervisedConfig, SupervisedRecipe

STEPS: dict[str, Any] = {"size": 32, "batch_size": 2, "steps": 4}
CNN: dict[str, Any] = {"backbone": "test_resnet", "weights": "", **STEPS}
JOINT: dict[str, Any] = {"backbone": "small-hybrid", "channels": (8, 8, 8, 8), "width": 8, **STEPS}


@pytest.mark.parametrize(
    ("recipe", "config", "data"),
    [
        (BASRecipe(), BASConfig(**CNN), Halves(all_tags=True)),  # draws one of a photo's tags
        (ECACLRecipe(), ECACLConfig(**CNN, bottleneck=8, threshold=0.0), Halves()),
        (BoundariesRecipe(), BoundariesConfig(**CNN, radius=4), Halves()),
        (ConsensusRecipe(), ConsensusConfig(**JOINT), Halves()),  # draws two views
        (ClassifierRecipe(), ClassifierConfig(**CNN), Halves()),
        (
            SupervisedRecipe(),
            SupervisedConfig(**JOINT, class_mix=0.5),
            Halves(),
        ),  # draws what is pasted where
    ],
    ids=("bas", "ecacl", "boundaries", "consensus", "classifier", "supervised"),
)
def test_an_interrupted_run_ends_with_the_same_weights(
    recipe: Any, config: Any, data: Halves, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_resumed_exactly(recipe, config, data, tmp_path, monkeypatch)
