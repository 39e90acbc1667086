"""IS-CAM against loops over positions, and on a photo of two colours."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tiny
from getam.errors import InputError
from getam.maps.methods.gradcam import gradcam
from getam.maps.methods.is_cam import image_specific_cam, is_cam, soft_iou


def test_soft_iou_by_hand() -> None:
    R, m = torch.rand(1, 5, 5), torch.rand(1, 3, 5)
    found = soft_iou(R, m)
    for c in range(3):
        for p in range(5):
            both = sum(R[0, p, q] * m[0, c, q] for q in range(5))
            either = sum(R[0, p, q] + m[0, c, q] - R[0, p, q] * m[0, c, q] for q in range(5))
            torch.testing.assert_close(found[0, c, p], both / either)
    assert 0 <= found.min() <= found.max() <= 1
    whole = torch.ones(1, 5, 5)
    torch.testing.assert_close(soft_iou(whole, torch.ones(1, 1, 5)), torch.ones(1, 1, 5))


def test_a_hint_covers_the_whole_object() -> None:
    features = torch.zeros(1, 2, 4, 6)
    features[:, 0, :, :3] = 1  # the object's colour
    features[:, 1, :, 3:] = 1
    hint = torch.zeros(1, 1, 4, 6)
    hint[..., :2, :2] = 1  # a third of it
    found = image_specific_cam(features, hint, torch.ones(1, 1, dtype=torch.bool))
    torch.testing.assert_close(found[0, 1], features[0, 0])
    torch.testing.assert_close(found[0, 0], features[0, 1])


def by_loops(features: Tensor, cams: Tensor, own: list[bool], inside: Tensor | None = None) -> Tensor:
    """IS-CAM of one photo (1+C,h,w), position by position; `cams` of all classes, `own` those of the photo."""
    f = features.flatten(1).T
    unit = f / f.norm(dim=1, keepdim=True)
    shown = [True] * len(f) if inside is None else inside.flatten().tolist()
    m = torch.cat([1 - cams.amax(0, keepdim=True), cams]).flatten(1) * torch.tensor(shown)
    listed = [True, *own]
    winners = []
    for p in range(len(f)):
        J = []
        for c in range(len(m)):
            R = (unit @ unit[p]).clamp(min=0)
            both = (R * m[c]).sum() * listed[c]
            J.append(float(both / (R.sum() + m[c].sum() - both)) * (0.5 if c == 0 else 1))
        winners.append(J.index(max(J)))
    maps = torch.zeros_like(m)
    for c in range(len(m)):
        seeds = [f[p] for p in range(len(f)) if winners[p] == c and listed[c] and shown[p]]
        if seeds:
            prototype = torch.stack(seeds).mean(0)
            maps[c] = (unit @ (prototype / prototype.norm())).clamp(min=0)
    return maps.unflatten(1, features.shape[1:])


@pytest.mark.parametrize("scale", [0.1, 30.0])
def test_against_loops_whatever_the_scale(scale: float) -> None:
    features, cams = torch.randn(1, 3, 2, 3), torch.rand(1, 2, 2, 3)
    found = image_specific_cam(features * scale, cams, torch.ones(1, 2, dtype=torch.bool))
    wanted = by_loops(features[0], cams[0], [True, True])
    torch.testing.assert_close(found[0], wanted, rtol=1e-4, atol=1e-5)


def test_classes_a_photo_has_not_take_from_its_background_and_get_nothing() -> None:
    features, cams = torch.randn(1, 4, 5, 5), torch.rand(1, 3, 5, 5)
    own = torch.tensor([[True, False, True]])
    found = image_specific_cam(features, cams, own)
    torch.testing.assert_close(
        found[0], by_loops(features[0], cams[0], [True, False, True]), rtol=1e-4, atol=1e-5
    )
    assert not found[0, 2].any()


def test_what_shows_no_photo_has_neither_map_nor_seed() -> None:
    features, cams = torch.randn(1, 4, 5, 5), torch.rand(1, 3, 5, 5)
    inside = torch.ones(1, 5, 5, dtype=torch.bool)
    inside[0, 3:] = False
    own = torch.tensor([[True, False, True]])
    found = image_specific_cam(features, cams, own, inside=inside)
    wanted = by_loops(features[0], cams[0], [True, False, True], inside[0])
    torch.testing.assert_close(found[0], wanted, rtol=1e-4, atol=1e-5)
    other = torch.where(
        inside[:, None], cams, torch.rand(1, 3, 5, 5)
    )  # what the classifier sees in the padding
    torch.testing.assert_close(image_specific_cam(features, other, own, inside=inside), found)
    assert not torch.allclose(image_specific_cam(features, cams, own), found)
    assert not image_specific_cam(features, cams, own, inside=torch.zeros_like(inside)).any()


@pytest.mark.parametrize("structured", [False, True])
def test_the_gradient_of_features_is_that_of_the_formula(structured: bool) -> None:
    made = torch.Generator().manual_seed(0)
    features = torch.randn(1, 3, 3, 3, generator=made, dtype=torch.double, requires_grad=True)
    cams = torch.rand(1, 2, 3, 3, generator=made, dtype=torch.double)
    structure = torch.randn(1, 4, 3, 3, generator=made, dtype=torch.double) if structured else None
    own = torch.tensor([[True, True]])
    assert image_specific_cam(features, cams, own, structure=structure)[0].flatten(1).any(1).sum() > 1
    assert torch.autograd.gradcheck(
        lambda given: image_specific_cam(given, cams, own, structure=structure), (features,)
    )


def test_background_is_what_shows_no_class_of_the_model() -> None:
    """Left half: the photo's own class at 0.3. Right half: another class, which the photo has not, at 1."""
    features, cams = torch.zeros(1, 2, 2, 4), torch.zeros(1, 2, 2, 4)
    features[0, 0, :, :2] = features[0, 1, :, 2:] = 1
    cams[0, 0, :, :2], cams[0, 1, :, 2:] = 0.3, 1
    found = image_specific_cam(features, cams, torch.tensor([[True, False]]))
    assert not found[0, 1].any()  # J: ½ · 0.7 of the background, which is nowhere else, against 0.3
    alone = image_specific_cam(features, cams[:, :1], torch.tensor([[True]]))
    assert torch.equal(alone[0, 1], features[0, 0])  # ½ · 0.35 of a background that is everywhere else too


def test_maps_of_a_model() -> None:
    model, images = tiny.vit(), tiny.photos(2)
    maps = is_cam(model, images, [[1, 0], [2]])
    assert maps.values.shape == (2, 2, 4, 4)
    assert 0 <= maps.values.min() <= maps.values.max() <= 1 + 1e-6
    assert maps.values[0].any()
    assert not maps.values[1, 1].any()
    torch.testing.assert_close(maps.scores, gradcam(model, images, [[1, 0], [2]]).scores)
    assert is_cam(model, images, [[], []]).values.shape == (2, 0, 4, 4)


@pytest.mark.parametrize("layers", [None, ["blocks.1.attn", "blocks.2.attn"], ["blocks.3.attn"]])
def test_maps_of_a_model_from_its_parts(layers: list[str] | None) -> None:
    model, images = tiny.vit(), tiny.photos(2)
    read = layers or [f"blocks.{i}.attn" for i in range(4)]
    tokens: list[Tensor] = []
    for name in read:
        model.get_submodule(name).register_forward_pre_hook(
            lambda _m, given: tokens.append(given[0].detach())
        )
    model(images)
    grids = [t[:, 1:].transpose(1, 2).unflatten(2, (4, 4)) for t in tokens[: len(read)]]
    features = torch.cat([F.normalize(grid, dim=1) for grid in grids], 1)
    cams = gradcam(model, images, [list(range(5))] * 2, layers=read[-1:]).values
    cams = cams / (cams.amax((2, 3), keepdim=True) + 1e-5)
    found = is_cam(model, images, [[3, 0], [2]], layers=layers)
    for photo, classes in enumerate([[3, 0], [2]]):
        wanted = by_loops(features[photo], cams[photo], [c in classes for c in range(5)])
        for slot, c in enumerate(classes):
            torch.testing.assert_close(found.values[photo, slot], wanted[1 + c], rtol=1e-3, atol=1e-5)
    assert found.values[0].any()
    assert found.classes.tolist() == [[3, 0], [2, -1]]
    assert found.grid == (4, 4)
    assert found.method == "is-cam"


def test_features_meet_on_the_grid_of_the_last_layer_but_one() -> None:
    model = tiny.awake(nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 2, 1),
                                     nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)))  # fmt: skip
    assert is_cam(model, tiny.photos(1), [[1]], layers=["0", "1", "2"]).grid == (8, 8)
    assert is_cam(model, tiny.photos(1), [[1]], layers=["2"]).grid == (4, 4)
    with pytest.raises(InputError, match="0 layers"):
        is_cam(model, tiny.photos(1), [[1]], layers=[])
