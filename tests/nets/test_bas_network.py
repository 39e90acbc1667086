"""A split CNN is the whole one, and its maps are a convolution of F1."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vgg import VGG
from torch import Tensor, nn

import tiny
from getam.errors import InputError
from getam.nets.bas import build_bas
from getam.nets.classifier import timm_body
from getam.nets.stages import in_stages

PHOTOS = tiny.photos(2, 96, 64) * 60 + 127


@pytest.mark.parametrize(
    ("backbone", "patch"),
    [
        ("test_resnet", 16),
        ("test_efficientnet", 16),
        ("mobilenetv3_small_050", 32),
        ("regnetx_002", 16),
        ("test_convnext", 16),
    ],
)
def test_the_halves_in_a_row_are_the_whole(backbone: str, patch: int) -> None:
    torch.manual_seed(0)
    model = timm_body(backbone, weights="").eval()
    low, high = in_stages(model, backbone, 2)
    photos = torch.rand(1, 3, 64, 96)
    torch.testing.assert_close(high(low(photos)), model.forward_features(photos))
    assert low(photos).shape[-2:] == (4, 6)  # F1 lies at stride 16
    net = build_bas(backbone, tiny.CLASSES, weights="").eval()
    assert net.patch == patch
    found = net(PHOTOS)
    assert found.maps.shape == (2, 3, 6, 4)
    assert found.class_map.shape == (2, 3, 96 // patch, 64 // patch)


def test_scores_and_maps_by_hand() -> None:
    net = build_bas("test_resnet", tiny.CLASSES, weights="").eval()
    found = net(PHOTOS)
    features = net.low((PHOTOS - net.mean) / net.std)
    torch.testing.assert_close(found.features, features)
    padded = torch.nn.functional.pad(features, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1)
    by_hand = 1 / (1 + torch.exp(-torch.einsum("cdij,bdhwij->bchw", net.generator.weight, padded)))
    torch.testing.assert_close(found.maps, by_hand)
    scores = torch.einsum(
        "cd,bd->bc", net.high.classifier.weight[:, :, 0, 0], net.high.stages(features).mean((2, 3))
    )
    torch.testing.assert_close(found.scores, scores)
    torch.testing.assert_close(net.class_scores(PHOTOS), found.scores)
    maps, again = net.learned_maps(PHOTOS)
    assert torch.equal(maps, found.maps)
    torch.testing.assert_close(again.sigmoid(), found.scores.softmax(1))  # one against all others
    torch.testing.assert_close(net.log_odds(found.scores + 7), again)
    assert net.generator.bias is None
    assert net.high.classifier.bias is None


def test_all_but_classifier_and_generator_is_pretrained() -> None:
    net = build_bas("test_efficientnet", tiny.CLASSES, weights="")
    names = {parameter: name for name, parameter in net.named_parameters()}
    old = {names[parameter] for parameter in net.pretrained_parameters()}
    assert set(names.values()) - old == {"high.classifier.weight", "generator.weight"}
    whole = timm.create_model("test_efficientnet", num_classes=0)
    assert len(old) == len(list(whole.parameters()))


@pytest.mark.parametrize("backbone", ["test_vit", "swin_tiny_patch4_window7_224"])
def test_what_is_no_row_of_stages_is_refused(backbone: str) -> None:
    with pytest.raises(InputError, match=f"{backbone} cannot be split into stages"):
        build_bas(backbone, tiny.CLASSES, weights="")


def test_building_moves_no_statistics() -> None:
    net = build_bas("test_resnet", tiny.CLASSES, weights="")
    assert net.training
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all(float(m.running_mean.abs().max()) == 0 for m in norms)
    assert all(m.training for m in norms)


def test_photos_are_normalised_by_the_backbone_s_own_numbers() -> None:
    net = build_bas("test_efficientnet", tiny.CLASSES, weights="").eval()
    mean, std = ([255 * n for n in numbers] for numbers in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    by_hand = torch.stack([(PHOTOS[:, c] - mean[c]) / std[c] for c in range(3)], 1)
    torch.testing.assert_close(net.normalised(PHOTOS), by_hand)
    torch.testing.assert_close(net(PHOTOS).features, net.low(by_hand))


@pytest.mark.parametrize("stride", [16, 32])
def test_the_last_stage_is_as_fine_as_asked_and_by_default_at_16(stride: int) -> None:
    net = build_bas("test_resnet", tiny.CLASSES, weights="", output_stride=stride).eval()
    assert net.patch == stride
    assert net(PHOTOS).class_map.shape[-2:] == (96 // stride, 64 // stride)
    assert net(PHOTOS).maps.shape[-2:] == (6, 4)  # F1 stays at stride 16
    assert build_bas("test_resnet", tiny.CLASSES, weights="").patch == 16


def test_weights_of_a_file_fill_both_halves(tmp_path: Path) -> None:
    source = timm.create_model("test_resnet", pretrained=False, num_classes=0)
    save_file(source.state_dict(), tmp_path / "resnet.safetensors")
    net = build_bas("test_resnet", tiny.CLASSES, weights=str(tmp_path / "resnet.safetensors")).eval()
    normalised = (PHOTOS - net.mean) / net.std
    assert torch.equal(net.low(normalised), source.eval().layer3(_before_layer3(source, normalised)))
    assert torch.equal(net.high.stages.layer4[0].conv1.weight, source.layer4[0].conv1.weight)


def _before_layer3(resnet: Any, images: Tensor) -> Tensor:
    return resnet.layer2(resnet.layer1(resnet.maxpool(resnet.act1(resnet.bn1(resnet.conv1(images))))))


@pytest.mark.parametrize("training", [True, False])
def test_splitting_leaves_the_model_in_its_mode(training: bool) -> None:
    model = timm_body("test_resnet", weights="").train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    low, high = in_stages(model, "test_resnet", 2)
    assert model.training is training
    assert all(part.training is training for half in (low, high) for part in half)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_what_follows_the_grid_is_left_out_of_a_vgg_too() -> None:
    model = VGG([8, "M", 8, "M", 12, "M", 12, "M", 16, "M"], num_classes=0, mlp_ratio=0.01)
    low, high = in_stages(model.eval(), "vgg", 2)
    photos = torch.rand(1, 3, 64, 96)
    torch.testing.assert_close(high(low(photos)), model.forward_features(photos))
    assert not any("pre_logits" in name for name, _ in high.named_children())


class Stages(nn.Module):
    """A CNN in timm's manner: a stem and two stages, of which `spoilt` says what is not a row."""

    def __init__(self, spoilt: str = "", modules: tuple[str, ...] = ("stem", "one", "two")) -> None:
        super().__init__()
        self.spoilt, self.num_features = spoilt, 8 if spoilt != "width" else 9
        self.stem, self.one, self.two = (nn.Conv2d(a, b, 3, 2, 1) for a, b in ((3, 4), (4, 6), (6, 8)))
        self.feature_info = [{"module": name, "reduction": 2 ** (i + 1)} for i, name in enumerate(modules)]

    def forward_features(self, images: Tensor) -> Tensor:
        found = self.two(self.one(self.stem(images)))
        match self.spoilt:
            case "more is done":
                return found + 1
            case "flat":
                return found.flatten(2)
            case "raises":
                raise AssertionError("only 224 pixels")
        return found


def test_two_stages_and_a_stem_are_enough() -> None:
    low, high = in_stages(Stages(), "stages", 2)
    assert [name for name, _ in low.named_children()] == ["stem", "one"]
    assert [name for name, _ in high.named_children()] == ["two"]
    low, high = in_stages(Stages(modules=("one", "two")), "stages", 2)
    assert [name for name, _ in low.named_children()] == ["stem", "one"]


@pytest.mark.parametrize("spoilt", ["more is done", "flat", "width", "raises"])
def test_a_model_whose_parts_are_not_the_whole_is_refused(spoilt: str) -> None:
    with pytest.raises(InputError, match="stages cannot be split"):
        in_stages(Stages(spoilt), "stages", 2)


@pytest.mark.parametrize("modules", [(), ("two",), ("elsewhere", "two"), ("one", "two", "nothing after")])
def test_a_model_without_two_stages_that_it_can_be_cut_at_is_refused(modules: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="stages cannot be split"):
        in_stages(Stages(modules=modules), "stages", 2)
    with pytest.raises(InputError, match="Linear cannot be split"):
        in_stages(nn.Linear(2, 2), "Linear", 2)
