"""The boundary network by hand, what of it learns, what its file holds, and which backbones it refuses."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor

import tiny
from getam.engine.model import load_model
from getam.engine.model_file import save_model
from getam.errors import InputError
from getam.maps.affinity import has_learned_boundaries, learned_boundaries
from getam.maps.registry import find_method
from getam.nets.boundary import BoundaryNetwork, build_boundaries

PHOTOS = tiny.photos(2, 64, 96) * 60 + 127


def network(**options: Any) -> BoundaryNetwork:
    torch.manual_seed(0)
    return build_boundaries("test_resnet", tiny.CLASSES, weights="", **options)


def test_boundaries_by_hand() -> None:
    net = network().eval()
    model: Any = net.classifier.model
    stages: list[Tensor] = [model.act1(model.bn1(model.conv1((PHOTOS - net.mean) / net.std)))]
    given = model.maxpool(stages[0])
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        given = layer(given)
        stages.append(given)
    assert [stage.shape[-1] for stage in stages] == [48, 24, 12, 6, 6]
    tops = []
    for stage, (convolution, norm) in zip(stages, net.tops, strict=True):
        found = torch.einsum("dc,bchw->bdhw", convolution.weight[:, :, 0, 0], stage)
        groups = found.unflatten(1, (4, 8))
        mean = groups.mean((2, 3, 4), keepdim=True)
        spread = groups.var((2, 3, 4), keepdim=True, unbiased=False)
        found = ((groups - mean) / (spread + 1e-5).sqrt()).flatten(1, 2)
        found = found * norm.weight[:, None, None] + norm.bias[:, None, None]
        tops.append(F.interpolate(found, size=(16, 24), mode="bilinear", align_corners=False).clamp(min=0))
    logits = torch.einsum("c,bchw->bhw", net.boundary.weight[0, :, 0, 0], torch.cat(tops, 1))
    scores, boundaries = net(PHOTOS)
    torch.testing.assert_close(boundaries, logits + net.boundary.bias)
    torch.testing.assert_close(scores, net.classifier(PHOTOS))
    torch.testing.assert_close(net.class_scores(PHOTOS), scores)


@pytest.mark.parametrize(
    ("backbone", "stages", "patch"),
    [
        ("test_resnet", 5, 16),
        ("test_efficientnet", 5, 16),
        ("mobilenetv3_small_050", 5, 32),
        ("regnetx_002", 5, 16),
        ("test_convnext", 4, 16),
    ],
)
def test_the_cnns_that_are_known(backbone: str, stages: int, patch: int) -> None:
    net = build_boundaries(backbone, tiny.CLASSES, weights="")
    assert (net.patch, len(net.tops)) == (patch, stages)
    assert net(PHOTOS).boundaries.shape == (2, 16, 24)
    assert net(PHOTOS).scores.shape == (2, 3)


@pytest.mark.parametrize("backbone", ["test_vit", "swin_tiny_patch4_window7_224"])
def test_what_has_no_feature_maps_is_refused(backbone: str) -> None:
    with pytest.raises(InputError, match=f"{backbone} has no stages of feature maps .* choose a CNN of timm"):
        build_boundaries(backbone, tiny.CLASSES, weights="")


def test_the_output_stride_is_the_classifiers() -> None:
    net = build_boundaries("resnet18", ("cat",), weights="", output_stride=8)
    assert net.patch == 8


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_backbone_keeps_weights_and_statistics(frozen: bool) -> None:
    net = network(frozen=frozen)
    assert net.training
    model: Any = net.classifier.model
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optim = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    scores, boundaries = net.train()(PHOTOS)
    (scores.square().sum() + boundaries.sum()).backward()
    optim.step()
    same = {name for name, value in net.state_dict().items() if torch.equal(value, before[name])}
    inside = {name for name in before if name.startswith("classifier.model.") and ".fc." not in name}
    assert (inside <= same) == frozen
    assert not {"classifier.model.fc.weight", "boundary.weight", "tops.0.0.weight"} & same
    assert ("classifier.model.bn1.running_mean" in same) == frozen
    assert model.training != frozen
    assert net.tops.training
    assert not net.eval().tops.training


def test_the_backbone_is_what_comes_with_weights() -> None:
    net = network()
    old, model = set(net.pretrained_parameters()), net.classifier.model
    assert model.conv1[0].weight in old
    assert not {model.fc.weight, net.boundary.weight, net.tops[0][0].weight} & old
    assert network().frozen


def test_learned_boundaries_are_those_of_photo_and_mirror() -> None:
    net = network()
    found = net.learned_boundaries(PHOTOS)
    assert net.training  # as it was
    assert found.shape == (2, 16, 24)
    net.eval()
    with torch.no_grad():
        logits = (net(PHOTOS).boundaries + net(PHOTOS.flip(-1)).boundaries.flip(-1)) / 2
    torch.testing.assert_close(found, 1 / (1 + torch.exp(-logits)))
    torch.testing.assert_close(net.learned_boundaries(PHOTOS.flip(-1)), found.flip(-1))
    assert not found.requires_grad
    boundary, grid = learned_boundaries(net, PHOTOS)
    assert torch.equal(boundary, found)
    assert grid == (16, 24)
    assert has_learned_boundaries(net)
    assert not has_learned_boundaries(net.classifier)


def test_maps_are_those_of_its_classifier() -> None:
    net = network().eval()
    for name in ("layercam", "cam"):
        method = find_method(name)
        found = method.make(net, PHOTOS, [[0], [2]])
        torch.testing.assert_close(found.values, method.make(net.classifier, PHOTOS, [[0], [2]]).values)
        assert found.values.any()


@pytest.mark.parametrize("frozen", [True, False])
def test_its_file_holds_all_of_it(tmp_path: Path, frozen: bool) -> None:
    net = network(frozen=frozen).eval()
    config = {"backbone": "test_resnet", "output_stride": 16, "frozen": frozen}
    save_model(tmp_path / "m.safetensors", net, config)
    loaded = load_model(tmp_path / "m.safetensors")
    assert isinstance(loaded, BoundaryNetwork)
    assert (loaded.frozen, loaded.classes, loaded.training) == (frozen, tiny.CLASSES, False)
    torch.testing.assert_close(loaded.learned_boundaries(PHOTOS), net.learned_boundaries(PHOTOS))


def test_the_weights_are_loaded(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = timm.create_model("test_resnet")
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    net = build_boundaries("test_resnet", tiny.CLASSES, weights=str(tmp_path / "w.safetensors"))
    assert torch.equal(net.classifier.model.conv1[0].weight, model.conv1[0].weight)
