"""The classifier recipe trains from tags, resumes, and its run folder loads for maps but not for masks."""

from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from safetensors.torch import save_file

import tiny
from getam.engine.model import load_model, load_segmenter
from getam.engine.model_file import save_model
from getam.errors import InputError, WeightsError
from getam.nets.classifier import Classifier
from getam.recipes.base import optimizer
from getam.recipes.classifier import PRESETS, ClassifierConfig, ClassifierRecipe
from getam.verbs.explain import explain_photos
from getam.verbs.predict import predict
from getam.verbs.train import train

RECIPE = ClassifierRecipe()


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_a_trained_run_loads_and_is_explained(tmp_path: Path, backbone: str) -> None:
    scenes = tiny.write_scenes(tmp_path / "scenes")
    save_file(timm.create_model(backbone).state_dict(), tmp_path / "backbone.safetensors")
    options = {
        "data": scenes / "photos", "tags": scenes / "tags.csv", "recipe": "classifier", "backbone": backbone,
        "weights": tmp_path / "backbone.safetensors", "size": 32, "batch_size": 3, "steps": 2,
    }  # fmt: skip
    net = train(out=tmp_path / "run", **options)
    assert isinstance(net, Classifier)
    loaded = load_model(tmp_path / "run")
    assert isinstance(loaded, Classifier)
    photos = tiny.photos(2, model=loaded)
    torch.testing.assert_close(loaded(photos), net(photos))
    assert train(out=tmp_path / "run", **options).classes == loaded.classes  # nothing left to do
    photo = sorted((scenes / "photos").iterdir())[0]
    explain_photos(
        photo, model=str(tmp_path / "run"), classes=("red",), method="gradcam", out=tmp_path / "maps"
    )
    assert (tmp_path / "maps" / f"{photo.stem}.red.png").is_file()
    with pytest.raises(InputError, match="classifier without a decoder"):
        predict(photo, model=tmp_path / "run", out=tmp_path / "masks")
    with pytest.raises(InputError, match="getam label"):
        load_segmenter(tmp_path / "run")


def test_the_loss_is_the_multilabel_soft_margin() -> None:
    config = ClassifierConfig(backbone="test_resnet", weights="", size=32)
    net = config.build(tiny.CLASSES).eval()
    images, tags = tiny.photos(2, model=net), torch.tensor([[1.0, 0, 1], [0, 0, 0]])
    losses = RECIPE.losses(net, {"image": images, "tags": tags}, 0.0, config)
    assert list(losses) == ["cls"]
    torch.testing.assert_close(losses["cls"], F.multilabel_soft_margin_loss(net(images), tags))


def test_the_head_learns_faster_than_the_backbone() -> None:
    config = ClassifierConfig(backbone="test_resnet", weights="", size=32)
    net = config.build(tiny.CLASSES)
    rates = {
        id(p): g["lr"]
        for g in optimizer(net, config.model_copy(update={"weights": "file"})).param_groups
        for p in g["params"]
    }
    assert rates[id(net.model.fc.weight)] == 10 * rates[id(net.model.conv1[0].weight)]
    assert {g["lr"] for g in optimizer(net, config).param_groups} == {config.lr}  # from nothing: one rate
    assert all(ClassifierConfig(**preset) for preset in PRESETS.values())


def test_a_size_off_the_stride_is_refused() -> None:
    with pytest.raises(InputError, match="size 40 is not a multiple of the 16-pixel patches of test_resnet"):
        ClassifierConfig(backbone="test_resnet", weights="", size=40).build(("cat",))


def test_a_kind_of_a_later_version_is_refused(tmp_path: Path) -> None:
    net = ClassifierConfig(backbone="test_resnet", weights="", size=32).build(("cat",))
    net.kind = "oracle"  # type: ignore[misc]
    save_model(tmp_path / "m.safetensors", net, {})
    with pytest.raises(WeightsError, match="kind 'oracle', unknown to this version"):
        load_model(tmp_path / "m.safetensors")


def test_files_without_a_kind_hold_segmenters() -> None:
    assert load_segmenter().kind == "segmenter"  # the embedded model was written before there was another


def test_the_defaults_and_the_presets() -> None:
    """The head's rate is ten times the backbone's (IRN, SIPE); transformers are tuned gently, at rates of ours."""
    config = ClassifierConfig()
    assert (config.lr, config.pretrained_lr, config.output_stride, config.optimizer) == (
        1e-3,
        1e-4,
        16,
        "adamw",
    )
    voc = {
        "backbone": "resnet50", "size": 512, "zoom": (0.625, 1.25), "batch_size": 16, "steps": 3305,
        "optimizer": "sgd", "lr": 1.0, "pretrained_lr": 0.1, "weight_decay": 1e-4, "momentum": 0.0, "warmup": 0.0,
        "poly_power": 0.9,
    }  # fmt: skip
    assert {
        "light": {},
        "paper-voc": voc,
        "paper-coco": {**voc, "steps": 25650},
        "vit": {"lr": 5e-4, "pretrained_lr": 2e-5, "weight_decay": 0.05},
    } == PRESETS
    assert (RECIPE.name, RECIPE.needs, RECIPE.config_type) == ("classifier", (), ClassifierConfig)
    assert RECIPE.presets is PRESETS
    with pytest.raises(ValidationError):
        ClassifierConfig(output_stride=4)
    with pytest.raises(ValidationError):
        ClassifierConfig(lr=0.0)


def test_the_rate_warms_up_and_falls() -> None:
    config = ClassifierConfig(warmup=0.2, poly_power=2.0)
    assert config.lr_factor(0.099) == pytest.approx(0.5 * 0.901**2)
    assert config.lr_factor(0.5) == pytest.approx(0.25)


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_the_output_stride_is_the_networks(stride: int) -> None:
    net = ClassifierConfig(backbone="resnet18", weights="", size=64, output_stride=stride).build(("cat",))
    assert net.patch == stride
    assert net.model.forward_features(torch.zeros(1, 3, 64, 64)).shape[-1] == 64 // stride


def test_the_weights_are_loaded(tmp_path: Path) -> None:
    model = timm.create_model("test_resnet")
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    config = ClassifierConfig(backbone="test_resnet", weights=str(tmp_path / "w.safetensors"), size=32)
    net = config.build(tiny.CLASSES)
    assert torch.equal(net.model.conv1[0].weight, model.conv1[0].weight)
    assert net.classes == tiny.CLASSES


def test_the_output_stride_is_an_option_of_train(tmp_path: Path) -> None:
    """Maps of a network trained at stride 8 are twice as fine, and its file says so."""
    scenes = tiny.write_scenes(tmp_path / "scenes")
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "backbone.safetensors")
    net = train(
        data=scenes / "photos", tags=scenes / "tags.csv", recipe="classifier", backbone="test_resnet", size=32,
        weights=tmp_path / "backbone.safetensors", batch_size=3, steps=1, out=tmp_path / "run",
        options=("output_stride=8",),
    )  # fmt: skip
    assert net.patch == load_model(tmp_path / "run").patch == 8
    with pytest.raises(InputError, match="option output_stride"):
        train(
            data=scenes / "photos", tags=scenes / "tags.csv", recipe="classifier", out=tmp_path / "other",
            options=("output_stride=12",),
        )  # fmt: skip
