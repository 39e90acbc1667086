"""The classifier with a class score map: convolutions written out, and its CAM, which is the map."""

from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

import tiny
from getam.errors import InputError
from getam.maps.registry import find_method
from getam.nets import score_map
from getam.nets.score_map import build_score_map

PHOTOS = tiny.photos(2, 64, 96) * 60 + 127


@pytest.mark.parametrize(
    ("backbone", "patch"),
    [("test_resnet", 16), ("test_efficientnet", 16), ("mobilenetv3_small_050", 32), ("test_convnext", 16)],
)
def test_the_map_is_three_convolutions_and_a_product_and_its_mean_the_score(
    backbone: str, patch: int
) -> None:
    torch.manual_seed(0)
    net = build_score_map(backbone, tiny.CLASSES, 6, weights="").eval()
    assert net.patch == patch
    found = net(PHOTOS)
    assert found.shape == (2, 3, 64 // patch, 96 // patch)
    features = net.model.forward_features((PHOTOS - net.mean) / net.std)
    convolutions = [module for module in net.hidden if isinstance(module, nn.Conv2d)]
    assert [c.weight.shape[0] for c in convolutions] == [6, 6, 6]
    for c in convolutions:
        features = F.conv2d(F.pad(features, (1, 1, 1, 1)), c.weight, c.bias).clamp(min=0)
    expected = torch.einsum("kd,bdhw->bkhw", net.classifier.weight[:, :, 0, 0], features)
    expected = expected + net.classifier.bias[:, None, None]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(net.class_map(PHOTOS), expected)
    torch.testing.assert_close(net.class_scores(PHOTOS), expected.mean((2, 3)))


def test_its_class_activation_map_is_the_map() -> None:
    net = build_score_map("test_resnet", tiny.CLASSES, 6, weights="").eval()
    found = find_method("cam").make(net, PHOTOS, [[2, 0], [1]]).values
    with torch.no_grad():
        expected = net.class_map(PHOTOS).relu()
    torch.testing.assert_close(found[0].detach(), expected[0, [2, 0]])
    torch.testing.assert_close(found[1, 0].detach(), expected[1, 1])


@pytest.mark.parametrize(("stride", "patch"), [(8, 8), (32, 32)])
def test_the_stride_is_the_one_asked_for(stride: int, patch: int) -> None:
    net = build_score_map("test_resnet", tiny.CLASSES, 6, weights="", output_stride=stride).eval()
    assert (net.patch, net(PHOTOS).shape[-2:]) == (patch, (64 // patch, 96 // patch))


def test_all_but_the_head_is_pretrained_and_filled_from_a_file(tmp_path: Path) -> None:
    source = timm.create_model("test_resnet", num_classes=0)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    net = build_score_map("test_resnet", tiny.CLASSES, 6, weights=str(tmp_path / "w.safetensors"))
    names = {parameter: name for name, parameter in net.named_parameters()}
    old = {names[parameter] for parameter in net.pretrained_parameters()}
    assert {name.split(".")[0] for name in set(names.values()) - old} == {"hidden", "classifier"}
    assert len(old) == len(list(source.parameters()))
    assert torch.equal(net.model.layer4[0].conv1.weight, source.layer4[0].conv1.weight)
    assert net.training


def test_what_has_no_channels_over_a_grid_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="test_vit has no last feature map of channels over a grid"):
        build_score_map("test_vit", tiny.CLASSES, 6, weights="")
    for model in (tiny.vit(tiny.Beit), Rows()):  # takes photos of one size; has its channels last
        monkeypatch.setattr(score_map, "timm_body", lambda *_, model=model, **__: model)
        with pytest.raises(InputError, match="such a model has no last feature map"):
            build_score_map("such a model", tiny.CLASSES, 6, weights="")


class Rows(nn.Module):
    """As Swin gives its features: rows, columns, channels."""

    num_features = 8

    def forward_features(self, images: Tensor) -> Tensor:
        return images.new_zeros(len(images), 4, 4, 8)
