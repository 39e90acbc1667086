"""The recipe without saliency: its stages, what two networks agree on, and all of it on real files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

import getam
import tiny
from getam.data.collection import Collection, Sample, load_collection
from getam.data.masks import read_mask
from getam.data.photos import as_tensor, read_photo
from getam.engine.model import load_model
from getam.errors import InputError, WeightsError
from getam.labels.agreed import agreed
from getam.nets.segmenter import Segmenter
from getam.pipeline import Pipeline
from getam.recipes import find_recipe
from getam.recipes.agreement import AgreementConfig
from getam.recipes.classifier import ClassifierConfig
from getam.recipes.stages import LabelStage, StagedRecipe, TrainStage
from getam.recipes.supervised import SupervisedConfig
from getam.recipes.told_labels import told_by

RECIPE: Any = find_recipe("agreement")
NOTHING = Collection((), ())
CNN: dict[str, Any] = {"backbone": "test_resnet", "weights": "", "size": 32}


def collection(*tags: tuple[str, ...]) -> Collection:
    samples = tuple(Sample(f"{n}", Path(f"{n}.png"), own) for n, own in enumerate(tags))
    return Collection(tuple(sorted({name for own in tags for name in own})), samples)


def photo(seed: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (3, 40, 56), generator=generator, dtype=torch.uint8)


def networks() -> dict[str, Any]:
    torch.manual_seed(1)
    classifier = ClassifierConfig(**CNN).build(tiny.CLASSES)
    return {"classifier": tiny.awake(classifier).eval(), "segmenter": tiny.hybrid_segmenter()}


def test_the_five_stages_and_what_each_needs() -> None:
    config = AgreementConfig(
        steps=50, round_steps=70, batch_size=8, lr=3e-3, gce=0.7, class_mix=0.5, seed=4, width=16, zoom=(0.5, 2),
        weights="w.safetensors", classifier={"batch_size": 4, "lr": 0.1},
    )  # fmt: skip
    classifier, labels, segmenter, again, last = found = RECIPE.stages(config, NOTHING)
    assert isinstance(RECIPE, StagedRecipe)
    assert [stage.name for stage in found] == [
        "classifier", "labels", "segmenter", "labels-2", "segmenter-2",
    ]  # fmt: skip
    assert [stage.needs for stage in found] == [
        (), ("classifier",), ("labels",), ("segmenter",), ("labels-2", "segmenter"),
    ]  # fmt: skip
    assert isinstance(classifier, TrainStage)
    assert classifier.recipe.name == "classifier"
    assert (classifier.config.batch_size, classifier.config.steps, classifier.config.lr) == (4, 100, 0.1)
    assert (classifier.config.seed, classifier.config.zoom, classifier.config.weights) == (
        4, (0.5, 2), "w.safetensors",
    )  # fmt: skip
    for stage, steps in ((segmenter, 50), (last, 70)):
        assert isinstance(stage, TrainStage)
        assert (stage.recipe.name, type(stage.config)) == ("supervised", SupervisedConfig)
        its = stage.config
        assert (its.steps, its.lr, its.gce, its.class_mix, its.seed, its.width) == (
            steps, 3e-3, 0.7, 0.5, 4, 16,
        )  # fmt: skip
    for stage in (labels, again):
        assert isinstance(stage, LabelStage)
    assert labels.options == {"labelled_by": "layercam+pamr:free", "scales": [224, 320]}
    assert (labels.agrees_with, again.agrees_with) == ("", "labels")
    assert again.options == {
        "label_scales": [224, 320], "label_flip": True, "label_crf": 5, "label_least": 0.0,
    }  # fmt: skip


def test_every_round_goes_on_from_the_one_before_and_agrees_with_the_classifier() -> None:
    found = RECIPE.stages(AgreementConfig(rounds=2, steps=9), NOTHING)
    assert [stage.needs for stage in found[5:]] == [("segmenter-2",), ("labels-3", "segmenter-2")]
    assert [stage.agrees_with for stage in found[1::2]] == ["", "labels", "labels"]
    assert [stage.config.steps for stage in found[2::2]] == [9, 9, 9]
    assert [stage.name for stage in RECIPE.stages(AgreementConfig(rounds=0), NOTHING)] == [
        "classifier", "labels", "segmenter",
    ]  # fmt: skip


def test_each_labelling_asks_its_own_network_whatever_is_salient() -> None:
    nets = networks()
    nets["segmenter-2"] = another = tiny.hybrid_segmenter()
    with torch.no_grad():
        for parameter in another.parameters():
            parameter.neg_()
    config = AgreementConfig(label_scales=(32, 64), label_flip=False, label_crf=2, rounds=2)
    stages = RECIPE.stages(config, NOTHING)
    mapped = Pipeline("layercam", ("pamr",), "free", scales=(32, 64), flip=False).label(
        nets["classifier"], photo(), [2, 0], None
    )
    assert torch.equal(stages[1].label(nets, photo(), [2, 0], None), mapped)
    told = [told_by(teacher, config, nets, photo(), [2, 0], None) for teacher in ("segmenter", "segmenter-2")]
    assert not torch.equal(*told)
    for place, expected in zip((3, 5), told, strict=True):
        for saliency in (None, torch.rand(40, 56)):
            assert torch.equal(stages[place].label(nets, photo(), [2, 0], saliency), expected)
        assert not stages[place].label(nets, photo(), [], None).any()
    others = RECIPE.stages(config.model_copy(update={"maps": "gradcam"}), NOTHING)
    mapped = Pipeline("gradcam", (), "free", scales=(32, 64), flip=False).label(
        nets["classifier"], photo(), [2, 0], None
    )
    assert torch.equal(others[1].label(nets, photo(), [2, 0], None), mapped)


def test_labels_of_more_classes_than_8_bits_hold() -> None:
    classes = tuple(f"c{n:03}" for n in range(260))
    torch.manual_seed(0)
    nets: dict[str, Any] = {
        "classifier": tiny.awake(ClassifierConfig(**CNN).build(classes)).eval(),
        "segmenter": tiny.awake(
            SupervisedConfig(backbone="small-hybrid", size=32, channels=(8, 8, 8, 8), width=8).build(classes)
        ).eval(),
    }
    stages = RECIPE.stages(AgreementConfig(label_scales=(32, 64), label_crf=0, label_flip=False), NOTHING)
    mapped, told = (stages[place].label(nets, photo(), [255, 3], None) for place in (1, 3))
    found = agreed(told, mapped, len(classes))
    assert found.dtype == torch.int32
    assert set(found.unique().tolist()) <= {0, 4, 256, 65535}
    assert 65535 in found


def test_what_cannot_be_learned_is_refused_before_any_training() -> None:
    config = AgreementConfig(**CNN)
    with pytest.raises(
        InputError,
        match=r"recipe agreement .* all 2 photos have the same tags \(cat\): add photos of .* none$",
    ):
        RECIPE.stages(config, collection(("cat",), ("cat",)))
    with pytest.raises(InputError, match=r"same tags \(a, b, c, d, e, f\)"):
        RECIPE.stages(config, collection(tuple("fbdace"), tuple("fbdace")))
    with pytest.raises(WeightsError, match="recipe agreement begins with a classifier, and the embedded"):
        RECIPE.stages(AgreementConfig(weights="embedded"), NOTHING)
    several = collection(("cat", "dog"), ("dog",))
    assert len(RECIPE.stages(config, several)) == 5
    with pytest.raises(InputError, match=r"saliency-fusion.* need saliency maps.*free"):
        RECIPE.stages(AgreementConfig(**CNN, maps="layercam:saliency-fusion"), several)
    with pytest.raises(getam.GetamError, match="rollout gives all tags of a photo the same map"):
        RECIPE.stages(AgreementConfig(**CNN, maps="rollout:free"), several)
    vit = AgreementConfig(backbone="test_vit", weights="", size=160, maps="rollout:free", label_scales=(160,))
    assert len(RECIPE.stages(vit, collection(("cat",), ("dog",)))) == 5  # one tag each: one map is enough
    for refused in ({"rounds": -1}, {"round_steps": 0}, {"label_scales": ()}, {"classifier": {"rate": 1}}):
        with pytest.raises(ValidationError):
            AgreementConfig(**refused)  # type: ignore[arg-type]


def test_the_defaults_and_presets() -> None:
    config = AgreementConfig()
    assert (config.rounds, config.round_steps, config.maps) == (1, None, "layercam+pamr:free")
    assert (config.label_scales, config.label_flip, config.label_crf, config.label_least) == (
        (224, 320), True, 5, 0.0,
    )  # fmt: skip
    assert (RECIPE.needs, RECIPE.uses, RECIPE.presets) == ((), (), {"light": {}})


def test_from_photos_and_tags_to_masks(scenes: Path, tmp_path: Path) -> None:
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "w.safetensors")
    classifier = f"classifier={{backbone: test_resnet, weights: {tmp_path / 'w.safetensors'}}}"
    options: dict[str, Any] = {
        "data": scenes / "photos", "tags": scenes / "tags.csv", "out": tmp_path / "run", "recipe": "agreement",
        "backbone": "small-hybrid", "size": 32, "batch_size": 2, "steps": 2,
        "options": (classifier, "label_scales=[64]", "label_flip=false", "channels=[8,8,8,8]", "width=8"),
    }  # fmt: skip
    net = getam.train(**options)
    assert isinstance(net, Segmenter)
    loaded = load_model(tmp_path / "run")
    images = tiny.photos(1, model=loaded)
    torch.testing.assert_close(loaded(images).logits, net(images).logits)
    first, second = (tmp_path / "run" / name for name in ("2-labels", "4-labels-2"))
    names = sorted(path.name for path in first.glob("*.png"))
    assert names == sorted(path.name for path in second.glob("*.png"))
    assert names
    nets = {"segmenter": load_model(tmp_path / "run" / "3-segmenter")}
    config = AgreementConfig(label_scales=(64,), label_flip=False)
    known = load_collection(scenes / "photos", scenes / "tags.csv")
    for sample in known.samples:
        mapped, kept = (read_mask(folder / f"{sample.name}.png") for folder in (first, second))
        present = [known.classes.index(tag) for tag in sample.tags]
        told = told_by("segmenter", config, nets, as_tensor(read_photo(sample.photo)), present, None).numpy()
        assert np.array_equal(kept, np.where(told == mapped, told, 255))
    # none done twice
    before = (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns
    getam.train(**options)
    assert (tmp_path / "run" / "5-segmenter-2" / "model.safetensors").stat().st_mtime_ns <= before
