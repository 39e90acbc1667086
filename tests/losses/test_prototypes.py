"""L_GSC against loops, its gradient, and what has no part in it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from getam.losses.prototypes import consistency_loss
from getam.maps.methods.is_cam import class_maps


def by_loops(cams: Tensor, specific: Tensor, own: Tensor, inside: Tensor | None) -> float:
    photos, classes, height, width = cams.shape
    total = 0.0
    for b in range(photos):
        for c in range(classes + 1):
            if c and not own[b, c - 1]:
                continue
            shown = [
                (r, k) for r in range(height) for k in range(width) if inside is None or bool(inside[b, r, k])
            ]
            peak = max((float(specific[b, c, r, k]) for r, k in shown), default=0.0)
            for r, k in shown:
                mine = float(cams[b, c - 1, r, k]) if c else 1 - max(float(v) for v in cams[b, :, r, k])
                total += abs(mine - float(specific[b, c, r, k]) / (peak + 1e-5))
    return total / (photos * (classes + 1) * height * width)


@pytest.mark.parametrize("cropped", [False, True])
def test_it_is_the_mean_written_out(cropped: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    cams, specific = (torch.rand(2, count, 3, 4, generator=generator) for count in (3, 4))
    own = torch.tensor([[True, False, True], [False, False, False]])
    inside = torch.rand(2, 3, 4, generator=generator) > 0.3 if cropped else None
    found = consistency_loss(cams, specific, own, inside)
    assert found.item() == pytest.approx(by_loops(cams, specific, own, inside), rel=1e-5)


def test_equal_maps_cost_nothing() -> None:
    cams = torch.zeros(1, 1, 2, 2)
    cams[0, 0, 0, 0] = 1
    specific = torch.cat([1 - cams, cams], 1)
    assert consistency_loss(cams, specific, torch.tensor([[True]])).item() == pytest.approx(0, abs=1e-4)


def test_gradients_reach_both() -> None:
    generator = torch.Generator().manual_seed(1)
    cams, specific = (
        torch.rand(2, count, 2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
        for count in (2, 3)
    )
    own = torch.tensor([[True, False], [True, True]])
    assert torch.autograd.gradcheck(lambda a, b: consistency_loss(a, b, own), (cams, specific))


def test_maps_are_positive_and_have_a_peak_of_one() -> None:
    score = torch.tensor([[[[4.0, -2.0], [1.0, 0.0]], [[-1.0, -1.0], [-3.0, -1.0]]]])
    found = class_maps(score)
    torch.testing.assert_close(found[0, 0], torch.tensor([[1.0, 0.0], [0.25, 0.0]]), rtol=0, atol=1e-4)
    assert not found[0, 1].any()


def test_an_empty_batch_has_a_graph() -> None:
    cams = torch.zeros(0, 2, 2, 2, requires_grad=True)
    loss = consistency_loss(cams, torch.zeros(0, 3, 2, 2), torch.zeros(0, 2, dtype=torch.bool))
    loss.backward()
    assert loss == 0
