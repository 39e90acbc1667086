"""`getam methods` lists what the registries know; `explain` runs each by name and says what does not go together."""

import inspect
import re

import pytest
import torch

import getam
import tiny
from getam import cli
from getam.errors import InputError
from getam.labels.registry import LABELLERS
from getam.labels.saliency import SALIENCY_PROVIDERS
from getam.maps.registry import REGISTRY
from getam.refine.registry import REFINERS
from getam.verbs.methods import TABLES


def tables(text: str) -> list[list[list[str]]]:
    """Tables, their lines, the cells of each."""
    return [[re.split(r"  +", line) for line in table.splitlines()] for table in text.rstrip().split("\n\n")]


def test_one_line_per_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["methods"]) == 0
    found = tables(capsys.readouterr().out)
    headings = [table[0] for table in found]
    assert headings == [
        ["method", "model", "backward", "map per", "options", "source"],
        ["refiner", "needs", "maps at", "source"],
        ["labels", "need", "source"],
        ["saliency", "needs", "source"],
    ]
    names = [[line[0] for line in table[1:]] for table in found]
    assert names == [list(REGISTRY), list(REFINERS), list(LABELLERS), list(SALIENCY_PROVIDERS)]
    lines = {line[0]: line[1:] for table in found for line in table}
    assert lines["zoom-cam"] == ["CNN or transformer", "yes", "class", "--layers", "arXiv 2010.08644"]
    assert lines["rollout"][1:3] == ["no", "photo"]
    assert lines["par"] == ["the photo", "photo", "AFA, arXiv 2203.02664"]
    assert lines["walk-irn"][1] == "patch grid"
    assert lines["walk-irn"][0] == "attention, before those that need the photo"
    assert lines["rollout"][3] == "—"
    assert lines["getam"][1:4] == ["yes", "class", "--coupling --start --rows"]
    assert lines["saliency-fusion"][0] == "maps, saliency"


def test_every_table_belongs_to_an_option_of_label() -> None:
    options = {f"--{name}" for name in inspect.signature(getam.label).parameters}
    assert set(TABLES) <= options


@pytest.mark.parametrize("method", [name for name in REGISTRY if name not in ("last-stage", "bas")])
def test_each_explains_by_name(method: str) -> None:
    model = tiny.vit(global_pool="avg", class_token=False, fc_norm=False)
    options = {"layers": ["norm"]} if method == "cam" else {}  # the last features that the score is linear in
    maps = getam.explain(model, tiny.photos(2), [[1, 2], [2]], method=method, **options)
    assert maps.values.shape == (2, 2, 4, 4)
    assert maps.values.dtype == torch.float32
    assert maps.values.min() >= 0
    assert maps.values.max() > 0
    assert maps.method.split("[")[0] in (method, "cam")
    assert torch.equal(maps.values[0, 0], maps.values[0, 1]) is not REGISTRY[method].per_class


def test_options_of_other_methods_are_refused() -> None:
    model, image = tiny.vit(), tiny.photos(1)
    with pytest.raises(
        InputError, match="--coupling is an option of getam, acr, ad-cam, last-stage, not of rollout"
    ):
        getam.explain(model, image, [[1]], method="rollout", coupling="grad")
    with pytest.raises(InputError, match="--colour is an option of no map method"):
        getam.explain(model, image, [[1]], colour="red")
