"""Deletion and insertion against a loop over the steps, and against the closed form of a linear model."""

from itertools import pairwise

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from getam.errors import InputError
from getam.metrics.deletion import blurred, deletion_insertion


def areas_slowly(score_fn, image: Tensor, baseline: Tensor, map: Tensor, steps: int) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    height, width = map.shape
    places = sorted(
        ((y, x) for y in range(height) for x in range(width)), key=lambda place: -float(map[place])
    )
    curves: tuple[list[float], list[float]] = ([], [])
    for step in range(steps + 1):
        taken = places[: round(step * len(places) / steps)]
        for curve, start, other in zip(curves, (image, baseline), (baseline, image)):
            mixed = start.clone()
            for y, x in taken:
                mixed[:, y, x] = other[:, y, x]
            curve.append(float(score_fn(mixed[None])[0]))
    return tuple(sum((a + b) / 2 / steps for a, b in pairwise(curve)) for curve in curves)  # type: ignore[return-value]


@pytest.mark.parametrize(("size", "steps"), [((5, 7), 4), ((6, 6), 36), ((1, 3), 5)])
def test_agrees_with_a_loop_over_steps_and_pixels(size: tuple[int, int], steps: int) -> None:
    image, baseline = torch.rand(3, *size), torch.rand(3, *size)
    map = torch.rand(size).mul(4).round()  # with equal values
    weight = torch.randn(3, *size)
    score = lambda photos: torch.sigmoid((photos * weight).sum((1, 2, 3)))  # noqa: E731
    found = deletion_insertion(score, image, baseline, map, steps)
    assert found == pytest.approx(areas_slowly(score, image, baseline, map, steps), abs=1e-6)


@pytest.mark.parametrize("steps", [1, 4, 16])
def test_closed_form_of_a_linear_model(steps: int) -> None:
    """The mean of n pixels of which the map finds the m that are 1 first, step by step.

    After the share f, deletion has lost min(f, m/n): the area under its curve is (m/n)² / 2, where m/n is on the grid
    of steps; insertion has 1 − f left to gain beyond m/n: m/n − (m/n)² / 2.
    """
    n, share = 64, 1.0 if steps == 1 else 0.25
    image = torch.zeros(3, 8, 8)
    image.view(3, -1)[:, : int(n * share)] = 1
    deletion, insertion = deletion_insertion(
        lambda photos: photos.mean((1, 2, 3)), image, torch.zeros_like(image), image[0], steps
    )
    assert deletion == pytest.approx(share**2 / 2)
    assert insertion == pytest.approx(share - share**2 / 2)


def test_the_worst_order_is_the_other_way_round() -> None:
    image = torch.zeros(3, 8, 8)
    image[:, :4] = 1
    score = lambda photos: photos.mean((1, 2, 3))  # noqa: E731
    good = deletion_insertion(score, image, torch.zeros_like(image), image[0], 8)
    bad = deletion_insertion(score, image, torch.zeros_like(image), -image[0], 8)
    assert good[0] < bad[0]
    assert good[1] > bad[1]


def test_blur_is_a_gaussian_with_borders_going_on() -> None:
    image = torch.rand(3, 20, 33) * 255
    expected = [
        gaussian_filter(channel.numpy(), 2.0, mode="nearest", truncate=3.0) for channel in image.double()
    ]
    torch.testing.assert_close(
        blurred(image, 2.0), torch.stack([torch.from_numpy(c) for c in expected]).float(), atol=1e-3, rtol=0
    )


def test_blur_is_a_share_of_the_long_side() -> None:
    for size in ((24, 56), (56, 24)):
        image = torch.rand(3, *size)
        torch.testing.assert_close(blurred(image), blurred(image, 2.5))
        assert not torch.allclose(blurred(image), blurred(image, 2.51))


def test_by_default_sixteen_steps_are_taken() -> None:
    sizes = []

    def score(photos: Tensor) -> Tensor:
        sizes.append(len(photos))
        return photos.mean((1, 2, 3))

    deletion_insertion(score, torch.rand(3, 8, 8), torch.zeros(3, 8, 8), torch.rand(8, 8))
    assert sizes == [17, 17]


def test_blur_keeps_range_and_mean_colour() -> None:
    grey = torch.full((3, 32, 48), 77.0)
    torch.testing.assert_close(blurred(grey), grey)


@pytest.mark.parametrize(("map", "steps"), [(torch.zeros(4, 5), 4), (torch.zeros(4, 4), 0)])
def test_what_does_not_fit_is_an_error(map: Tensor, steps: int) -> None:
    image = torch.zeros(3, 4, 4)
    with pytest.raises(InputError, match="must be of one size"):
        deletion_insertion(lambda photos: photos.mean((1, 2, 3)), image, image, map, steps)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_an_error(value: float) -> None:
    image, map = torch.zeros(3, 4, 4), torch.zeros(4, 4)
    mean = lambda photos: photos.mean((1, 2, 3))  # noqa: E731
    with pytest.raises(InputError, match="1 of 16 values of the map are not finite"):
        deletion_insertion(mean, image, image, torch.tensor([value] + [0.0] * 15).view(4, 4), 4)
    with pytest.raises(InputError, match="5 of 5 probabilities are not finite"):
        deletion_insertion(lambda photos: mean(photos) + value, image, image, map, 4)
