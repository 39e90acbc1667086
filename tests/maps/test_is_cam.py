"""IS-CAM against loops over positions, and on a photo of two colours."""

import pytest
import torch

import tiny
from getam.maps.gradcam import gradcam
from getam.maps.is_cam import image_specific_cam, is_cam, soft_iou


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


@pytest.mark.parametrize("scale", [0.1, 30.0])
def test_against_loops_whatever_the_scale(scale: float) -> None:
    features, cams = torch.randn(1, 3, 2, 3), torch.rand(1, 2, 2, 3)
    found = image_specific_cam(features * scale, cams, torch.ones(1, 2, dtype=torch.bool))
    f = features[0].flatten(1).T
    unit = f / f.norm(dim=1, keepdim=True)
    m = torch.cat([1 - cams[0].amax(0, keepdim=True), cams[0]]).flatten(1)
    winners = []
    for p in range(6):
        J = []
        for c in range(3):
            R = (unit @ unit[p]).clamp(min=0)
            both = (R * m[c]).sum()
            J.append(float(both / (R.sum() + m[c].sum() - both)) * (0.5 if c == 0 else 1))
        winners.append(J.index(max(J)))
    for c in range(3):
        seeds = [f[p] for p in range(6) if winners[p] == c]
        wanted = torch.zeros(6)
        if seeds:
            prototype = torch.stack(seeds).mean(0)
            wanted = (unit @ (prototype / prototype.norm())).clamp(min=0)
        torch.testing.assert_close(found[0, c].flatten(), wanted, rtol=1e-4, atol=1e-5)


def test_maps_of_a_model() -> None:
    model, images = tiny.vit(), tiny.photos(2)
    maps = is_cam(model, images, [[1, 0], [2]])
    assert maps.values.shape == (2, 2, 4, 4)
    assert 0 <= maps.values.min() <= maps.values.max() <= 1 + 1e-6
    assert maps.values[0].any()
    assert not maps.values[1, 1].any()
    torch.testing.assert_close(maps.scores, gradcam(model, images, [[1, 0], [2]]).scores)
    assert is_cam(model, images, [[], []]).values.shape == (2, 0, 4, 4)
