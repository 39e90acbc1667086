"""multi_layer_cam() against plain slow code: hand-made layers, a linear net with known weights, and other libraries."""

from __future__ import annotations

import math
from typing import Any

import pytest
import timm
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import tiny
from getam.errors import CaptureError, InputError
from getam.maps.features import default_layers, last_layer
from getam.maps.methods.cam import cam
from getam.maps.methods.gradcam import gradcam
from getam.maps.methods.layercam import layercam
from getam.maps.methods.multi_layer import (
    AGGREGATES,
    WEIGHTINGS,
    binary_entropy,
    mean_fuse,
    min_max,
    multi_layer_cam,
    peak_normalised,
    uncertainty_fuse,
    zoom,
)
from getam.maps.methods.um_cam import um_cam
from getam.maps.methods.zoom_cam import zoom_cam


def layer_and_gradient(model: Any, image: Tensor, stage: int, c: int) -> tuple[Tensor, Tensor]:
    """F and G of the stages up to `stage`, (D,h,w) each, by running the network in two pieces."""
    features = model.features[: stage + 1](image).detach().requires_grad_()
    scores = model.head(model.features[stage + 1 :](features * 1).mean((2, 3)))
    (gradient,) = torch.autograd.grad(scores[0, c], features)
    return features[0].detach(), gradient[0]


def by_hand(weighting: str, F: Tensor, G: Tensor) -> Tensor:
    height, width = F.shape[1:]
    found = torch.zeros(height, width)
    for y in range(height):
        for x in range(width):
            for d in range(len(F)):
                g = {
                    "pooled": G[d].mean(),
                    "class": G[d].sum(),
                    "elementwise": G[d, y, x],
                    "positive": G[d, y, x].clamp(min=0),
                }[weighting]
                found[y, x] += g * F[d, y, x]
    return found.clamp(min=0)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("stage", [0, 2])
def test_one_layer_by_hand(weighting: str, stage: int) -> None:
    if weighting == "class" and stage == 0:
        return
    model, images = tiny.cnn(), tiny.photos(2)
    maps = multi_layer_cam(
        model, images, [[1, 3], [2]], layers=[f"features.{stage}"], weighting=weighting, aggregate="none"
    )
    for b, k, c in ((0, 0, 1), (0, 1, 3), (1, 0, 2)):
        wanted = by_hand(weighting, *layer_and_gradient(model, images[b : b + 1], stage, c))
        torch.testing.assert_close(maps.values[b, k], wanted, rtol=1e-4, atol=1e-6)
    assert not maps.values[1, 1].any()
    torch.testing.assert_close(maps.scores[0], model(images)[0, [1, 3]].detach())


def test_cam_applies_the_weights_of_the_classifier() -> None:
    model, images = tiny.cnn(), tiny.photos(2)
    wanted = torch.einsum("kd,bdhw->bkhw", model.head.weight[[1, 3]], model.features(images)).relu().detach()
    classes = [[1, 3], [1, 3]]
    torch.testing.assert_close(cam(model, images, classes).values, wanted, rtol=1e-4, atol=1e-6)
    # Grad-CAM divides by the number of positions; at the last layer so does Zoom-CAM before it normalises
    torch.testing.assert_close(gradcam(model, images, classes).values * 16, wanted, rtol=1e-4, atol=1e-6)
    least, peak = wanted.amin((2, 3), keepdim=True), wanted.amax((2, 3), keepdim=True)
    zoomed = zoom_cam(model, images, classes, layers=["features.2"])
    torch.testing.assert_close(zoomed.values, (wanted - least) / peak.clamp(min=1e-9), rtol=1e-4, atol=1e-6)


def test_cam_is_refused_where_the_gradient_varies() -> None:
    with pytest.raises(CaptureError, match="linear in the average"):
        cam(tiny.vit(), tiny.photos(1), [[1]])
    with pytest.raises(CaptureError, match="linear in the average"):
        cam(tiny.cnn(), tiny.photos(1), [[1]], layers=["features.0"])


def test_max_takes_the_larger_of_coarse_and_fine() -> None:
    coarse = torch.tensor([[[[4.0]]]])  # constant: N = (4 − 4) / 4 = 0
    fine = torch.tensor([[[[1.0, 5.0], [3.0, 1.0]]]])  # (M − 1) / 5
    torch.testing.assert_close(zoom([coarse, fine])[0, 0], torch.tensor([[0, 0.8], [0.4, 0]]))
    same = torch.tensor([[[[0.0, 0.0], [2.0, 1.0]]]])
    torch.testing.assert_close(zoom([same, fine])[0, 0], torch.tensor([[0, 0.8], [1, 0.5]]))


def test_max_goes_from_coarse_to_fine() -> None:
    coarse = torch.tensor([[[[0.0, 1.0]]]])
    fine = torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]]])
    # bilinear with pixel centres: 0, 1 at x = 1, 3 of 0..4 -> 0, 1/4, 3/4, 1
    wanted = torch.tensor([1, 0.25, 0.75, 1])
    for order in ([coarse, fine], [fine, coarse]):
        torch.testing.assert_close(zoom(order)[0, 0, 0], wanted)


def test_uncertainty_by_hand() -> None:
    sure, torn = torch.tensor([[[[0.0, 0.0, 1.0]]]]), torch.tensor([[[[0.0, 0.5, 1.0]]]])
    # only the middle differs: weights 1 and e^(−log 2) = ½, so (1·0 + ½·½) / 1½ = 1/6
    wanted = torch.tensor([0, 1 / 6, 1])
    torch.testing.assert_close(uncertainty_fuse([sure, torn])[0, 0, 0], wanted, rtol=1e-4, atol=1e-5)


def test_identical_maps_fuse_to_themselves() -> None:
    maps = torch.rand(2, 1, 4, 5)
    least, peak = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    for fuse in ("uncertainty", "mean"):
        found = AGGREGATES[fuse]([maps, maps, maps])
        torch.testing.assert_close(found, (maps - least) / (peak - least), rtol=1e-4, atol=1e-5)


@given(st.floats(0, 1))
def test_the_least_weight_is_at_a_half(value: float) -> None:
    weight = math.exp(-float(binary_entropy(torch.tensor([value], dtype=torch.float64))))
    assert 0.5 - 1e-5 <= weight <= 1 + 1e-5
    half = math.exp(-float(binary_entropy(torch.tensor([0.5], dtype=torch.float64))))
    assert half == pytest.approx(0.5, abs=1e-5)


@given(st.integers(1, 3), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_a_further_layer_never_lowers_a_pixel(more: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.rand(1, 1, s, s, generator=generator) for s in (8, 4)]
    coarser = [torch.rand(1, 1, s, s, generator=generator) for s in (4, 2, 1)[:more]]
    before, after = zoom(maps), zoom(maps + coarser)
    assert (after >= before - 1e-6).all()
    assert after.min() >= 0
    assert after.max() <= 1 + 1e-6


@pytest.mark.parametrize("method", [zoom_cam, um_cam, layercam])
def test_many_layers_of_a_cnn_and_of_a_transformer(method: Any) -> None:
    for model, grid in ((tiny.cnn(), (16, 16)), (tiny.vit(), (4, 4))):
        maps = method(model, tiny.photos(2), [[1, 0], [2]])
        assert maps.grid == grid
        assert maps.values.shape == (2, 2, *grid)
        assert maps.values.min() >= 0
        assert 0.5 < maps.values[0, 0].max() <= 1 + 1e-6
        assert not maps.values[1, 1].any()


@pytest.mark.parametrize("method", [gradcam, zoom_cam, um_cam, layercam, cam])
def test_a_class_without_gradient_gives_zeros(method: Any) -> None:
    model = tiny.cnn()
    with torch.no_grad():
        model.head.weight[1] = 0
    assert not method(model, tiny.photos(1), [[1]]).values.any()
    assert method(model, tiny.photos(2), [[], []]).values.shape[:2] == (2, 0)


@pytest.mark.parametrize(
    ("method", "theirs"), [(gradcam, "GradCAM"), (layercam, "LayerCAM"), (None, "HiResCAM")]
)
def test_equals_pytorch_grad_cam(method: Any, theirs: str) -> None:
    library = pytest.importorskip("pytorch_grad_cam", reason="the other library comes with the bench extra")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, image = tiny.cnn(), tiny.photos(1)
    other = getattr(library, theirs)(model=model, target_layers=[model.features[1]])
    wanted = torch.from_numpy(other(image, [ClassifierOutputTarget(2)])[0])
    weighting = {"GradCAM": "pooled", "LayerCAM": "positive", "HiResCAM": "elementwise"}[theirs]
    maps = multi_layer_cam(
        model, image, [[2]], layers=["features.1"], weighting=weighting, aggregate="none"
    ).values
    large = nn.functional.interpolate(maps, size=wanted.shape[-2:], mode="bilinear")[0, 0]
    large = (large - large.min()) / (large.max() - large.min())
    assert (large - wanted).abs().mean() < 0.02  # it brings maps to [0,1] before it resizes them
    assert method is None or method(model, image, [[2]]).values.any()


@pytest.mark.parametrize(
    ("name", "grids"),
    [
        ("resnet18", [32, 16, 8, 4, 2]),
        ("convnext_atto", [16, 8, 4, 2]),
        ("efficientnet_b0", [32, 16, 8, 4, 2]),
        ("densenet121", [32, 16, 8, 4, 2]),
        ("swin_tiny_patch4_window7_224", [16, 8, 4, 2]),
        ("pvt_v2_b0", [16, 8, 4, 2]),
        ("torchvision vgg11", [64, 32, 16, 8, 4, 2]),
        ("torchvision resnet18", [32, 16, 8, 4, 2]),
    ],
)
def test_the_default_layers_are_one_per_resolution(name: str, grids: list[int]) -> None:
    if name.startswith("torchvision"):
        model = getattr(torchvision.models, name.split()[1])(num_classes=5).eval()
    else:
        sized = {"img_size": 64} if "swin" in name else {}
        model = timm.create_model(name, num_classes=5, **sized).eval()
    images = tiny.photos(1, 64, 64)
    layers = default_layers(model, images)
    for layer, grid in zip(layers, grids, strict=True):
        maps = multi_layer_cam(model, images, [[1]], layers=[layer], weighting="pooled", aggregate="none")
        assert maps.grid == (grid, grid)
    assert last_layer(model, images) == layers[-1]
    if "vgg" not in name:  # its dense layers see positions; in all others nothing lies before the average
        assert cam(model, images, [[1]]).grid == (grids[-1], grids[-1])


def test_the_model_is_left_as_it_was() -> None:
    model = tiny.cnn().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    zoom_cam(model, tiny.photos(2), [[1], []])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(m.training and not m._forward_hooks for m in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_what_cannot_be_done_is_said() -> None:
    model, image = tiny.cnn(), tiny.photos(1)
    with pytest.raises(InputError, match="no weighting 'no': choose one of class, pooled"):
        multi_layer_cam(model, image, [[1]], weighting="no")
    with pytest.raises(InputError, match="no aggregate 'no': choose one of none, max"):
        multi_layer_cam(model, image, [[1]], aggregate="no")
    with pytest.raises(InputError, match="no module 'layer9'"):
        multi_layer_cam(model, image, [[1]], layers=["layer9"])
    with pytest.raises(InputError, match="2 layers were given"):
        multi_layer_cam(model, image, [[1]], layers=["features.0", "features.1"], aggregate="none")
    with pytest.raises(CaptureError, match=r"head holds \(1, 5\)"):
        multi_layer_cam(model, image, [[1]], layers=["head"])
    token = tiny.vit()
    token.blocks[3].register_forward_hook(lambda _m, _i, out: out.detach())
    with pytest.raises(CaptureError, match="does not depend on blocks"):
        multi_layer_cam(token, image, [[1]], layers=["blocks.0"])
    with torch.inference_mode(), pytest.raises(CaptureError, match="inference_mode"):
        zoom_cam(model, image, [[1]])


def test_normalisations_are_of_each_map_alone() -> None:
    maps = torch.tensor([[[[1.0, 5.0]], [[2.0, 4.0]]], [[[0.0, 0.0]], [[3.0, 3.0]]]])
    assert peak_normalised(maps)[:, :, 0].tolist() == [
        [[0, pytest.approx(0.8)], [0, pytest.approx(0.5)]],
        [[0, 0], [0, 0]],
    ]
    assert min_max(maps)[:, :, 0].tolist() == [[[0, 1], [0, 1]], [[0, 0], [0, 0]]]


def test_mean_by_hand() -> None:
    coarse = torch.tensor([[[[2.0, 6.0]]]])  # 0, 1 at x = 1, 3 of 0..4 -> 0, 1/4, 3/4, 1
    fine = torch.tensor([[[[1.0, 3.0, 1.0, 2.0]]]])  # 0, 1, 0, 1/2
    wanted = torch.tensor([0, 1.25 / 2, 0.75 / 2, 1.5 / 2])
    for order in ([coarse, fine], [fine, coarse]):
        torch.testing.assert_close(mean_fuse(order)[0, 0, 0], wanted)
    assert AGGREGATES["mean"] is mean_fuse
    assert torch.equal(AGGREGATES["none"]([fine, coarse]), fine)


def test_the_entropy_is_in_nats_with_the_references_constant() -> None:
    values = torch.tensor([0.0, 0.2, 0.5, 1.0], dtype=torch.float64)
    e = 1e-6
    for value, found in zip(values.tolist(), binary_entropy(values).tolist()):
        wanted = -(value * math.log(value + e) + (1 - value) * math.log(1 - value + e))
        assert found == pytest.approx(wanted, rel=1e-6)


def test_a_constant_gradient_may_stray_by_a_thousandth() -> None:
    gradient = torch.ones(2, 3, 10, 10)
    gradient[0, 1] = -2
    torch.testing.assert_close(WEIGHTINGS["class"](gradient), gradient[:, :, :1, :1] * 100)
    gradient[0, 0, 4, 4] = 1 + 0.0018  # of at most 2
    WEIGHTINGS["class"](gradient)
    gradient[0, 0, 4, 4] = 1 + 0.0022
    with pytest.raises(CaptureError, match="linear in the average"):
        WEIGHTINGS["class"](gradient)
    gradient[0] = 0
    gradient[1, 2, 3, 3] = 1.0022  # each photo against its own largest
    with pytest.raises(CaptureError, match="linear in the average"):
        WEIGHTINGS["class"](gradient)


def test_layers_must_be_named() -> None:
    with pytest.raises(InputError, match="0 layers were given"):
        multi_layer_cam(tiny.cnn(), tiny.photos(1), [[1]], layers=[])
    for layer in ("", "features.9"):
        with pytest.raises(InputError, match=f"the model has no module '{layer}'"):
            multi_layer_cam(tiny.cnn(), tiny.photos(1), [[1]], layers=[layer])


def test_the_finest_grid_of_the_layers_is_the_maps() -> None:
    for layers in (["features.2", "features.0", "features.1"], ["features.1", "features.2"]):
        for aggregate in ("max", "uncertainty", "mean"):
            maps = multi_layer_cam(tiny.cnn(), tiny.photos(1), [[1]], layers=layers, aggregate=aggregate)
            side = 16 if "features.0" in layers else 8
            assert maps.grid == tuple(maps.values.shape[2:]) == (side, side)


def test_several_layers_fused_by_hand() -> None:
    model, images = tiny.cnn(), tiny.photos(1)
    layers = ["features.0", "features.1"]
    single = [
        multi_layer_cam(model, images, [[3]], layers=[layer], weighting="pooled", aggregate="none").values
        for layer in layers
    ]
    for aggregate, fuse in (("mean", mean_fuse), ("uncertainty", uncertainty_fuse), ("max", zoom)):
        found = multi_layer_cam(model, images, [[3]], layers=layers, weighting="pooled", aggregate=aggregate)
        torch.testing.assert_close(found.values, fuse(single))
