"""Rows of the leaderboard as they are named, and the stages they stand for."""

from __future__ import annotations

import pytest

from getam.data.collection import Collection
from getam.errors import InputError
from getam.pipeline_text import parse_pipeline
from getam.recipes import RECIPES
from getam.recipes.self_training import SelfTrainingConfig
from getam.recipes.stages import LabelStage, StagedRecipe, TrainStage
from getam.recipes.supervised import SupervisedConfig
from getam.verbs.leaderboard_entry import read_entries, read_entry

NOTHING = Collection(("cat",), ())


def test_every_part_of_a_name_is_read() -> None:
    entry = read_entry(
        "classifier[backbone=resnet18,weights=a/b.safetensors,zoom=[0.5,2]]/acr[start=9]+par:irn"
    )
    assert entry.system is RECIPES["classifier"]
    assert entry.options == {"backbone": "resnet18", "weights": "a/b.safetensors", "zoom": [0.5, 2]}
    assert entry.pipeline == parse_pipeline("acr[start=9]+par:irn")
    assert entry.training == "classifier[backbone=resnet18,weights=a/b.safetensors,zoom=[0.5,2]]"
    plain = read_entry("getam")
    assert (plain.training, plain.options) == ("getam", {})


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_be_named_alone(name: str) -> None:
    entry = read_entry(name)
    own = isinstance(entry.system, StagedRecipe) or "mask" in entry.system.needs
    assert entry.from_masks == ("mask" in entry.system.needs)
    assert entry.pipeline == (None if own else parse_pipeline(entry.system.labelled_by))


def test_all_is_every_recipe_with_the_ceiling_first() -> None:
    names = [entry.name for entry in read_entries(("all", "classifier/cam:irn"))]
    assert names[0] == "supervised"
    assert set(names) == {*RECIPES, "classifier/cam:irn"}
    assert [entry.name for entry in read_entries(("getam", "bas"))] == ["getam", "bas"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("nothing", "recipe"), ("getam[", "is not RECIPE"), ("getam/", "is not RECIPE"),
        ("getam/nothing:irn", "nothing"),
        ("supervised/getam:irn", "makes its labels itself: leave /getam:irn out"),
        ("self-training/getam:irn", "makes its labels itself"),
        ("getam[steps]", "NAME=VALUE"),
    ],
)  # fmt: skip
def test_other_names_are_refused(text: str, match: str) -> None:
    with pytest.raises(InputError, match=match):
        read_entry(text)


def test_a_name_twice_is_refused() -> None:
    with pytest.raises(InputError, match="names getam twice"):
        read_entries(("all", "getam"))


def test_stages_end_with_labels_and_the_second_stage_reads_them() -> None:
    second = SupervisedConfig()
    staged = read_entry("self-training[rounds=2]")
    own = staged.stages(SelfTrainingConfig(rounds=2), NOTHING)
    assert [stage.name for stage in own] == ["getam", "labels", "segmenter", "labels-2"]
    assert staged.second_stage(own, second).labels == "labels-2"

    single = read_entry("getam/gradcam+par:threshold")
    train, labels = single.stages(RECIPES["getam"].config_type(), NOTHING)
    assert isinstance(train, TrainStage)
    assert isinstance(labels, LabelStage)
    assert labels.needs == (train.name,)
    assert labels.options == {"labelled_by": "gradcam+par:threshold", "scales": [224, 320]}
    assert single.second_stage((train, labels), second).labels == labels.name

    ceiling = read_entry("supervised")
    assert ceiling.stages(second, NOTHING) == ()
    stage = ceiling.second_stage((), second)
    assert (stage.labels, stage.start, stage.config) == ("", "", second)
