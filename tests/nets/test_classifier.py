"""The plain classifier gives the scores of the timm model inside, at any photo size that model can take."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.beit import Beit
from torch import nn

import tiny
from getam.errors import CaptureError, InputError, WeightsError
from getam.maps.registry import find_method
from getam.nets.classifier import Classifier, build_classifier, timm_body

PHOTOS = tiny.photos(2, 96, 64) * 60 + 127


def test_scores_are_those_of_the_timm_model_on_normalised_photos() -> None:
    net = build_classifier("test_resnet", tiny.CLASSES, weights="").eval()
    cfg = net.model.pretrained_cfg
    mean, std = (torch.tensor(cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    expected = net.model((PHOTOS / 255 - mean) / std)
    torch.testing.assert_close(net(PHOTOS), expected)
    torch.testing.assert_close(net.class_scores(PHOTOS), expected)
    assert expected.shape == (2, 3)
    assert net.classes == tiny.CLASSES


@pytest.mark.parametrize(
    ("backbone", "stride", "patch"),
    [("test_resnet", 16, 16), ("test_resnet", 32, 32), ("test_efficientnet", 16, 16), ("test_vit", 16, 16),
     ("mobilenetv3_small_050", 16, 32)],
)  # fmt: skip
def test_maps_are_as_fine_as_asked_where_timm_can_dilate(backbone: str, stride: int, patch: int) -> None:
    net = build_classifier(backbone, tiny.CLASSES, weights="", output_stride=stride).eval()
    assert net.patch == patch
    maps = find_method("gradcam").make(net, PHOTOS, [[0], [1, 2]])
    assert maps.grid == (96 // patch, 64 // patch)


def test_cam_is_defined_on_a_convolutional_one() -> None:
    net = build_classifier("test_resnet", tiny.CLASSES, weights="").eval()
    maps = find_method("cam").make(net, PHOTOS, [[0], [1]])
    features = net.model.forward_features((PHOTOS - net.mean) / net.std)
    by_hand = torch.einsum("d,dhw->hw", net.model.fc.weight[1], features[1]).relu()
    torch.testing.assert_close(maps.values[1, 0], by_hand.detach(), rtol=1e-4, atol=1e-6)


def test_getam_reads_a_transformer_and_refuses_a_cnn() -> None:
    vit = build_classifier("test_vit", tiny.CLASSES, weights="").eval()
    assert vit.geometry(96, 64).grid == (6, 4)
    assert find_method("getam").make(vit, PHOTOS, [[0], [1]]).values.shape == (2, 1, 6, 4)
    with pytest.raises(CaptureError, match="has no patch_embed"):
        build_classifier("test_resnet", tiny.CLASSES, weights="").geometry(96, 64)


def test_a_model_of_one_photo_size_gets_every_photo_at_it() -> None:
    net = Classifier(
        tiny.vit(Beit, use_abs_pos_emb=False, use_rel_pos_bias=True), ("a", "b", "c", "d", "e")
    ).eval()
    assert net.fixed == (32, 32)
    shrunk = torch.nn.functional.interpolate(PHOTOS, size=(32, 32), mode="bilinear", antialias=True)
    torch.testing.assert_close(net(PHOTOS), net(shrunk))
    assert net.geometry(96, 64).grid == (4, 4)
    assert find_method("gradcam").make(net, PHOTOS, [[0], [1]]).grid == (4, 4)


def test_all_but_the_head_is_pretrained() -> None:
    net = build_classifier("test_efficientnet", tiny.CLASSES, weights="")
    names = {parameter: name for name, parameter in net.named_parameters()}
    old = {names[parameter] for parameter in net.pretrained_parameters()}
    assert set(names.values()) - old == {"model.classifier.weight", "model.classifier.bias"}


def test_weights_of_a_file_fill_the_backbone(tmp_path: Path) -> None:
    source = timm.create_model("test_resnet", pretrained=False)
    save_file(source.state_dict(), tmp_path / "resnet.safetensors")
    net = build_classifier("test_resnet", tiny.CLASSES, weights=str(tmp_path / "resnet.safetensors"))
    own = net.model.state_dict()
    assert all(
        torch.equal(own[name], value)
        for name, value in source.state_dict().items()
        if not name.startswith("fc.")
    )
    with pytest.raises(WeightsError, match="of another backbone"):
        build_classifier("test_vit", tiny.CLASSES, weights=str(tmp_path / "resnet.safetensors"))


@pytest.mark.parametrize(
    ("backbone", "message"),
    [("resnot", "timm has no model 'resnot'"), ("resnet18.nope", "timm cannot build 'resnet18.nope'")],
)
def test_unknown_models_are_refused(backbone: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_classifier(backbone, tiny.CLASSES, weights="")


def test_normalisation_is_in_the_units_of_photos() -> None:
    net = build_classifier("test_efficientnet", tiny.CLASSES, weights="")
    grey = torch.full((1, 3, 1, 1), 255.0)
    wanted = [(1 - mean) / std for mean, std in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
    torch.testing.assert_close(net.normalised(grey).flatten(), torch.tensor(wanted))
    assert not {"mean", "std"} & set(net.state_dict())


def test_a_model_without_a_config_is_normalised_like_imagenet() -> None:
    class Bare(nn.Module):
        feature_info = ({"reduction": 4}, {"reduction": 8})

    net = Classifier(Bare(), tiny.CLASSES)
    torch.testing.assert_close(net.mean.flatten(), 255 * torch.tensor([0.485, 0.456, 0.406]))
    torch.testing.assert_close(net.std.flatten(), 255 * torch.tensor([0.229, 0.224, 0.225]))
    assert net.patch == 8  # of the last feature map
    assert net.fixed is None


def test_the_stride_comes_from_the_patches_where_no_stages_are_listed() -> None:
    class Patches(nn.Module):
        patch_embed = SimpleNamespace(feat_ratio=lambda: 14, img_size=(28, 42), strict_img_size=True)

    net = Classifier(Patches(), tiny.CLASSES)
    assert net.patch == 14
    assert net.fixed == (28, 42)
    with pytest.raises(InputError, match="Linear does not say its stride"):
        Classifier(nn.Linear(2, 2), tiny.CLASSES)


def test_a_photo_of_the_fixed_size_is_not_resized(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Classifier(tiny.vit(Beit, use_abs_pos_emb=False, use_rel_pos_bias=True), tuple("abcde")).eval()
    photos = tiny.photos(2) * 60 + 127
    wanted = net.model((photos - net.mean) / net.std)
    monkeypatch.setattr("torch.nn.functional.interpolate", None)
    assert torch.equal(net(photos), wanted)


def test_a_cnn_is_dilated_to_stride_16_by_default() -> None:
    assert build_classifier("test_resnet", tiny.CLASSES, weights="").patch == 16
    assert timm_body("test_resnet", weights="").feature_info[-1]["reduction"] == 16
    assert timm_body("test_resnet", weights="", output_stride=8).feature_info[-1]["reduction"] == 8


def test_a_body_has_no_head_and_a_classifier_a_fresh_one() -> None:
    assert isinstance(timm_body("test_resnet", weights="").get_classifier(), nn.Identity)
    assert build_classifier("test_resnet", ("a", "b"), weights="").model.get_classifier().out_features == 2


@pytest.mark.parametrize("weights", [None, ""])
def test_the_hub_is_asked_only_where_no_weights_were_named(
    weights: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, asked = timm.create_model, []

    def kept(name: str, pretrained: bool = False, **options: Any) -> Any:
        if pretrained:
            asked.append((name, options))
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", kept)
    timm_body("test_resnet", weights=weights)
    assert asked == ([("test_resnet", {"num_classes": 0, "output_stride": 16})] if weights is None else [])


def test_an_unreachable_hub_names_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **options: Any) -> Any:
        if pretrained:
            raise OSError("no route to host")
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(WeightsError, match="weights of test_resnet could not be fetched"):
        build_classifier("test_resnet", tiny.CLASSES)


def test_a_transformer_is_built_for_photos_of_any_size_where_timm_can() -> None:
    with torch.device("meta"):
        body = timm_body("vit_tiny_patch16_224", weights="")
        assert body.eval()(torch.zeros(1, 3, 64, 32)).shape == (1, body.num_features)
        # BEiT takes one size only: it is built as it is
        assert timm_body("beit_base_patch16_224", weights="").patch_embed.strict_img_size is True
