"""PAR against its formula in plain loops, and what the two kernels promise."""

import math
import statistics

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from getam.errors import InputError
from getam.refine import neighbours
from getam.refine.pamr import pamr
from getam.refine.par import par


def par_in_plain_loops(image, maps, iterations, dilations):
    """The formula pixel by pixel: image and maps are nested lists (3,H,W), (K,H,W)."""
    height, width = len(image[0]), len(image[0][0])

    def at(plane, y, x):
        return plane[min(max(y, 0), height - 1)][min(max(x, 0), width - 1)]

    def softmax(logits):
        exponentials = [math.exp(logit - max(logits)) for logit in logits]
        return [e / sum(exponentials) for e in exponentials]

    ring = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    offsets = [(d * dy, d * dx) for d in dilations for dy, dx in ring]
    distances = [d * (2**0.5 if dy and dx else 1) for d in dilations for dy, dx in ring]
    spread = statistics.stdev(distances) + 1e-8
    position = softmax([-((d / spread / 0.3) ** 2) for d in distances])
    weights = {}
    for y in range(height):
        for x in range(width):
            logits = [0.0] * len(offsets)
            for plane in image:
                around = [at(plane, y + dy, x + dx) for dy, dx in offsets]
                sigma = statistics.stdev(around) + 1e-8
                for j, colour in enumerate(around):
                    logits[j] -= ((plane[y][x] - colour) / sigma / 0.3) ** 2 / len(image)
            weights[y, x] = [c + 0.01 * p for c, p in zip(softmax(logits), position)]
    for _ in range(iterations):
        maps = [
            [
                [
                    sum(w * at(plane, y + dy, x + dx) for w, (dy, dx) in zip(weights[y, x], offsets))
                    for x in range(width)
                ]
                for y in range(height)
            ]
            for plane in maps
        ]
    return torch.tensor(maps)


@pytest.mark.parametrize("strip", [1, 20, 1 << 14])
def test_equals_plain_loops_however_the_photo_is_cut(monkeypatch, strip):
    monkeypatch.setattr(neighbours, "CPU_STRIP", strip)
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, 7, 9), generator=generator).double()
    maps = torch.rand(2, 7, 9, generator=generator, dtype=torch.float64)

    refined = par(image[None], maps[None], iterations=2, dilations=(1, 3))

    expected = par_in_plain_loops(image.tolist(), maps.tolist(), 2, (1, 3))
    torch.testing.assert_close(refined[0], expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    colours=st.sampled_from([1, 2, 256]),
    iterations=st.integers(0, 10),
    seed=st.integers(0, 2**16),
)
def test_a_constant_map_grows_by_a_hundredth_per_iteration_on_any_photo(
    height, width, colours, iterations, seed
):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, colours, (2, 3, height, width), generator=generator) * (
        255 // max(colours - 1, 1)
    )
    refined = par(images, torch.full((2, 1, 4, 5), 0.5), iterations=iterations)
    torch.testing.assert_close(refined, torch.full((2, 1, height, width), 0.5 * 1.01**iterations))


def test_the_edge_of_a_two_colour_photo_stops_what_crosses_it():
    photo = torch.full((1, 3, 16, 16), 40.0)
    photo[..., 8:] = 210
    leaking = torch.zeros(1, 1, 16, 16)
    leaking[..., :6] = 1

    refined = par(photo, leaking, dilations=(1, 2, 4))

    assert refined[..., :8].min() > 0.5  # filled up to the edge
    assert refined[..., 8:].max() < 0.12  # ten iterations of the 0.01 that ignores colour


def test_the_kernel_of_position_passes_what_colour_alone_would_stop():
    photo = torch.zeros(1, 3, 9, 9)
    photo[..., 4:] = 255
    half = torch.zeros(1, 1, 9, 9)
    half[..., :4] = 1
    assert par(photo, half, iterations=1, dilations=(1,))[0, 0, 4, 4] > 1e-3
    assert pamr(photo, half, iterations=1, dilations=(1,))[0, 0, 4, 4] < 1e-3


def test_the_arg_max_of_beliefs_that_sum_to_one_needs_no_normalisation():
    beliefs = torch.rand(1, 3, 10, 12).softmax(1)
    refined = par(torch.rand(1, 3, 10, 12) * 255, beliefs)
    torch.testing.assert_close(refined.sum(1), torch.full((1, 10, 12), 1.01**10))


def test_maps_are_brought_to_photo_size_and_no_maps_give_no_maps():
    maps = torch.rand(1, 2, 3, 4)
    expected = F.interpolate(maps, (12, 16), mode="bilinear", align_corners=True)
    torch.testing.assert_close(par(torch.zeros(1, 3, 12, 16), maps, iterations=0), expected)
    assert par(torch.zeros(2, 3, 12, 16), torch.zeros(2, 0, 3, 4)).shape == (2, 0, 12, 16)


@pytest.mark.parametrize("dilations", [(), (0, 1)])
def test_impossible_dilations_are_refused_by_name(dilations):
    with pytest.raises(InputError, match="dilations"):
        par(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8), dilations=dilations)
