"""A split CNN is the whole one, and its maps are a convolution of F1."""

import pytest
import timm
import torch

import tiny
from getam.errors import InputError
from getam.nets.bas import build_bas, split
from getam.nets.classifier import timm_body

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
    low, high = split(model, backbone)
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
    assert torch.equal(again, found.scores)
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
