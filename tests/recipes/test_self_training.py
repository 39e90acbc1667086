"""The recipe in stages: which there are, how photos are labelled, and all of it on real files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

import getam
import tiny
from getam.data.augmentation import ZOOM
from getam.data.collection import Collection
from getam.data.masks import read_mask
from getam.labels.enlarge import enlarged
from getam.nets.inference import photo_logits
from getam.recipes import find_recipe
from getam.recipes.getam import PRESETS as GETAM_PRESETS
from getam.recipes.getam import GetamConfig
from getam.recipes.self_training import SelfTrainingConfig
from getam.recipes.stages import LabelStage, MeanStage, StagedRecipe, TrainStage
from getam.recipes.supervised import SupervisedConfig
from getam.refine.crf import dense_crf
from getam.refine.crf_parameters import DEEPLAB

RECIPE: Any = find_recipe("self-training")
NOTHING = Collection((), ())


def label_rule(**options: Any) -> Any:
    return RECIPE.stages(SelfTrainingConfig(**options), NOTHING)[1].label


def test_the_three_stages_and_what_each_needs() -> None:
    config = SelfTrainingConfig(
        steps=50, round_steps=70, lr=3e-3, coupling="grad", seed=4, width=16, class_mix=0.5, zoom=(0.5, 2)
    )
    first, labels, last = RECIPE.stages(config, NOTHING)
    assert isinstance(RECIPE, StagedRecipe)
    assert (first.name, labels.name, last.name) == ("getam", "labels", "segmenter")
    assert isinstance(first, TrainStage)
    assert (first.recipe.name, first.needs) == ("getam", ())
    assert type(first.config) is GetamConfig
    assert (first.config.steps, first.config.coupling, first.config.lr) == (50, "grad", 3e-3)
    assert first.config.zoom == last.config.zoom == (0.5, 2)
    assert isinstance(labels, LabelStage)
    assert labels.needs == ("getam",)
    assert isinstance(last, TrainStage)
    assert (last.recipe.name, last.labels, last.start) == ("supervised", "labels", "getam")
    assert type(last.config) is SupervisedConfig
    assert last.config.class_mix == 0.5
    assert (last.config.steps, last.config.lr, last.config.seed, last.config.width) == (70, 3e-3, 4, 16)


def test_steps_of_the_rounds_are_those_of_the_first_where_nothing_is_said() -> None:
    assert RECIPE.stages(SelfTrainingConfig(steps=50), NOTHING)[2].config.steps == 50


def test_every_round_labels_with_the_network_before() -> None:
    found = RECIPE.stages(SelfTrainingConfig(rounds=3), NOTHING)
    assert [stage.name for stage in found] == [
        "getam", "labels", "segmenter", "labels-2", "segmenter-2", "labels-3", "segmenter-3",
    ]  # fmt: skip
    assert [stage.needs for stage in found] == [
        (), ("getam",), ("labels", "getam"), ("segmenter",), ("labels-2", "segmenter"), ("segmenter-2",),
        ("labels-3", "segmenter-2"),
    ]  # fmt: skip
    anew = RECIPE.stages(SelfTrainingConfig(rounds=2, go_on=False), NOTHING)
    assert [stage.needs for stage in anew[2::2]] == [("labels",), ("labels-2",)]


def test_several_students_of_a_round_go_on_from_one_and_their_mean_goes_on() -> None:
    found = RECIPE.stages(SelfTrainingConfig(rounds=2, students=3, seed=5, round_steps=9), NOTHING)
    assert [stage.name for stage in found] == [
        "getam", "labels", "segmenter-a", "segmenter-b", "segmenter-c", "segmenter",
        "labels-2", "segmenter-2-a", "segmenter-2-b", "segmenter-2-c", "segmenter-2",
    ]  # fmt: skip
    for first, teacher, suffix in ((2, "getam", ""), (7, "segmenter", "-2")):
        several, mean = found[first : first + 3], found[first + 3]
        assert [stage.needs for stage in several] == [(f"labels{suffix}", teacher)] * 3
        assert [stage.config.seed for stage in several] == [5, 6, 7]
        assert [stage.config.steps for stage in several] == [9] * 3
        assert [stage.config.zoom for stage in several] == [ZOOM, (0.6, 1.6), ZOOM]
        assert [stage.config.colour_jitter for stage in several] == [False, True, False]
        assert [stage.config.class_mix for stage in several] == [0.0, 0.5, 0.0]
        assert isinstance(mean, MeanStage)
        assert mean.needs == tuple(stage.name for stage in several)


def test_students_that_begin_anew_have_no_mean() -> None:
    with pytest.raises(getam.InputError, match="students=2 are averaged, which needs a common start"):
        RECIPE.stages(SelfTrainingConfig(students=2, go_on=False), NOTHING)
    assert len(RECIPE.stages(SelfTrainingConfig(students=1, go_on=False), NOTHING)) == 3


def test_a_last_training_on_larger_crops_goes_on_and_is_averaged_with_what_was_before() -> None:
    own = {
        "backbone": "small-hybrid",
        "size": 64,
        "batch_size": 16,
        "steps": 9,
        "round_steps": 7,
        "seed": 4,
        "students": 2,
    }
    config = SelfTrainingConfig(**own, lr=1e-3, pretrained_lr=1e-4, finish_size=96)
    collection = Collection(("cat", "dog"), ())
    *before, labels, last, mean = RECIPE.stages(config, collection)
    assert [stage.name for stage in before] == ["getam", "labels", "segmenter-a", "segmenter-b", "segmenter"]
    assert (labels.name, labels.needs) == ("labels-last", ("segmenter",))
    assert labels.options == before[1].options
    assert (last.name, last.recipe.name, last.labels, last.start) == (
        "finish",
        "supervised",
        "labels-last",
        "segmenter",
    )
    its = last.config
    assert (its.size, its.batch_size, its.steps, its.seed) == (96, 7, 3, 6)
    assert (its.lr, its.pretrained_lr) == (pytest.approx(4e-4), pytest.approx(5e-5))
    assert (its.zoom, its.colour_jitter, its.class_mix) == ((0.6, 1.6), True, 0.5)
    assert isinstance(mean, MeanStage)
    assert mean.needs == ("finish", "segmenter")


@pytest.mark.parametrize(
    ("size", "said"),
    [(64, "finish_size=64 is no larger than the crops of 64"), (100, "size 100 is not a multiple of the 8")],
)
def test_a_last_training_that_cannot_be_is_refused_before_any_work(size: int, said: str) -> None:
    config = SelfTrainingConfig(backbone="small-hybrid", size=64, finish_size=size)
    with pytest.raises(getam.InputError, match=said):
        RECIPE.stages(config, Collection(("cat",), ()))


@pytest.mark.parametrize(
    ("option", "least", "below"), [("rounds", 1, 0), ("students", 1, 0), ("finish_size", 32, 31)]
)
def test_numbers_from_the_least_there_can_be(option: str, least: int, below: int) -> None:
    assert getattr(SelfTrainingConfig.model_validate({option: least}), option) == least
    with pytest.raises(ValidationError, match=option):
        SelfTrainingConfig.model_validate({option: below})


def test_what_decides_the_labels_is_recorded() -> None:
    labels = RECIPE.stages(SelfTrainingConfig(label_scales=(48, 64), label_least=0.3), NOTHING)[1]
    assert labels.options == {
        "label_scales": [48, 64], "label_flip": False, "label_crf": 5, "label_least": 0.3,
    }  # fmt: skip


def test_the_defaults_and_presets() -> None:
    config = SelfTrainingConfig()
    assert (config.rounds, config.round_steps, config.students, config.go_on) == (1, None, 1, True)
    assert (config.label_scales, config.label_flip, config.label_crf, config.label_least) == (
        None,
        False,
        5,
        0.0,
    )
    assert {"light": {}, "paper-voc": GETAM_PRESETS["paper-voc"]} == RECIPE.presets


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("crf", [0, 3])
def test_a_photo_is_labelled_as_told(flip: bool, crf: int) -> None:
    net = tiny.hybrid_segmenter()
    photo = torch.randint(256, (3, 40, 56), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    saliency = torch.rand(40, 56, generator=torch.Generator().manual_seed(4))
    rule = label_rule(label_scales=(32, 48), label_flip=flip, label_crf=crf, label_least=0.4)
    found = rule({"getam": net}, photo, [2, 0], saliency)

    logits = photo_logits(net, photo, (32, 48), flip=flip)[[0, 3, 1]]
    belief = logits.softmax(0)
    if crf:
        belief = dense_crf(photo[None].float(), belief[None], parameters=DEEPLAB, iterations=crf)[0]
    wanted = torch.tensor([0, 3, 1], dtype=torch.uint8)[belief.argmax(0)]
    wanted[belief.amax(0) < 0.4] = 255
    wanted[(wanted != 255) & ((wanted > 0) != (saliency > 0.5))] = 255
    assert torch.equal(found, wanted)
    assert len(found.unique()) > 2
    assert 2 not in found


def test_a_photo_is_labelled_at_the_side_at_which_its_network_predicts() -> None:
    net = tiny.hybrid_segmenter()
    photo = torch.randint(256, (3, 250, 500), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    for crop, side in ((32, 320), (288, 403)):
        net.crop = crop
        found = label_rule(label_crf=0)({"getam": net}, photo, [0, 1, 2], None)
        assert torch.equal(
            found, label_rule(label_crf=0, label_scales=(side,))({"getam": net}, photo, [0, 1, 2], None)
        )
        assert net.side == side


def test_large_photos_are_labelled_as_their_copy_of_500() -> None:
    net = tiny.hybrid_segmenter()
    small = torch.randint(256, (3, 250, 500), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    large = small.repeat_interleave(3, -1).repeat_interleave(3, -2)
    rule = label_rule(label_scales=(48,), label_crf=0)
    wanted = rule({"getam": net}, small, [0, 1, 2], None)
    found = rule({"getam": net}, large, [0, 1, 2], None)
    assert found.dtype == torch.uint8
    assert torch.equal(found, enlarged(wanted, (750, 1500)))


def test_a_photo_without_tags_is_background() -> None:
    photo = torch.zeros(3, 40, 56, dtype=torch.uint8)
    found = label_rule(label_scales=(32,))({"getam": tiny.hybrid_segmenter()}, photo, [], torch.ones(40, 56))
    assert not found.any()


def test_tags_become_a_segmenter_in_one_call(scenes: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "data": scenes / "photos", "tags": scenes / "tags.csv", "out": tmp_path / "run", "recipe": "self-training",
        "backbone": "small-hybrid", "size": 32, "batch_size": 2, "steps": 2, "saliency": "none",
    }  # fmt: skip
    net = getam.train(**options)
    assert sorted(f.name for f in (tmp_path / "run").iterdir() if f.is_dir()) == [
        "1-getam",
        "2-labels",
        "3-segmenter",
    ]
    for line in (scenes / "tags.csv").read_text().splitlines()[1:]:
        name, tags = line.split(",")
        label = read_mask(tmp_path / "run" / "2-labels" / name)
        assert set(label.ravel().tolist()) <= {0, *(net.classes.index(tag) + 1 for tag in tags.split(";"))}
    masks = getam.predict(scenes / "photos", model=tmp_path / "run", out=tmp_path / "masks")
    assert len(list(masks.glob("*.png"))) == 6
    model = (tmp_path / "run" / "model.safetensors").read_bytes()
    getam.train(**options)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == model
    with pytest.raises(getam.InputError, match="steps=2, now steps=3"):
        getam.train(**{**options, "steps": 3})


def test_the_network_of_a_last_training_sees_photos_as_its_larger_crops_want_it(
    scenes: Path, tmp_path: Path
) -> None:
    net = getam.train(
        data=scenes / "photos", tags=scenes / "tags.csv", out=tmp_path / "run", recipe="self-training", size=32,
        backbone="small-hybrid", batch_size=2, steps=2, saliency="none", options=("finish_size=48",),
    )  # fmt: skip
    folders = sorted(f.name for f in (tmp_path / "run").iterdir() if f.is_dir())
    assert folders == ["1-getam", "2-labels", "3-segmenter", "4-labels-last", "5-finish", "6-last"]
    before, after, mean = (getam.load_model(tmp_path / "run" / name) for name in (folders[2], *folders[4:]))
    assert (before.crop, after.crop, mean.crop, net.crop) == (32, 48, 48, 48)  # type: ignore[attr-defined]
    wanted = (before.decoder.head[4].weight + after.decoder.head[4].weight) / 2  # type: ignore[attr-defined]
    torch.testing.assert_close(net.decoder.head[4].weight, wanted)  # type: ignore[attr-defined]
