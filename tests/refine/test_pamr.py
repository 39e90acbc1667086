"""PAMR against the published implementation's output and against the formula in plain loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from getam.errors import InputError
from getam.refine import neighbours
from getam.refine.pamr import normalise_maps, pamr
from shared_material import golden


def pamr_in_plain_loops(image, maps, iterations, dilations):
    """Formula of the paper, pixel by pixel: image and maps are nested lists (3,H,W), (K,H,W)."""
    height, width = len(image[0]), len(image[0][0])

    def at(plane, y, x):
        return plane[min(max(y, 0), height - 1)][min(max(x, 0), width - 1)]

    ring = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    windows = [(d * dy, d * dx) for d in dilations for dy, dx in ring]
    neighbours = [offset for offset in windows if offset != (0, 0)]
    weights = {}
    for y in range(height):
        for x in range(width):
            logits = [0.0] * len(neighbours)
            for plane in image:
                window = [at(plane, y + dy, x + dx) for dy, dx in windows]
                mean = sum(window) / len(window)
                sigma = math.sqrt(sum((value - mean) ** 2 for value in window) / (len(window) - 1))
                for j, (dy, dx) in enumerate(neighbours):
                    distance = abs(plane[y][x] - at(plane, y + dy, x + dx))
                    logits[j] -= distance / (1e-8 + 0.1 * sigma) / len(image)
            exponentials = [math.exp(logit - max(logits)) for logit in logits]
            weights[y, x] = [e / sum(exponentials) for e in exponentials]
    for _ in range(iterations):
        maps = [
            [
                [
                    sum(w * at(plane, y + dy, x + dx) for w, (dy, dx) in zip(weights[y, x], neighbours))
                    for x in range(width)
                ]
                for y in range(height)
            ]
            for plane in maps
        ]
    return torch.tensor(maps)


def test_equals_the_published_implementation():
    arrays = {key: torch.from_numpy(value) for key, value in golden("pamr").items()}
    images = arrays["image"].permute(2, 0, 1)[None]

    refined = pamr(
        images,
        arrays["mask"],
        iterations=int(arrays["num_iter"]),
        dilations=tuple(arrays["dilations"].tolist()),
    )

    torch.testing.assert_close(refined, arrays["refined"], rtol=1e-5, atol=0)


def test_the_published_example_was_made_with_the_defaults():
    arrays = golden("pamr")
    assert (int(arrays["num_iter"]), arrays["dilations"].tolist()) == (10, [1, 2, 4, 8, 12, 24])


@pytest.mark.parametrize("budget", [1, 40, 1 << 20])
@pytest.mark.parametrize("photos", [1, 3, 5])
def test_photos_worked_on_together_are_as_alone(monkeypatch, budget, photos):
    monkeypatch.setattr(neighbours, "CPU_STRIP", budget)
    images, maps = torch.rand(photos, 3, 6, 5) * 255, torch.rand(photos, 2, 6, 5)
    alone = [pamr(images[i : i + 1], maps[i : i + 1], dilations=(1, 2)) for i in range(photos)]
    torch.testing.assert_close(pamr(images, maps, dilations=(1, 2)), torch.cat(alone))


@pytest.mark.parametrize("strip", [1, 20, 1 << 14])
def test_equals_plain_loops_however_the_photo_is_cut(monkeypatch, strip):
    monkeypatch.setattr(neighbours, "CPU_STRIP", strip)
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, 7, 9), generator=generator).double()
    maps = torch.rand(2, 7, 9, generator=generator, dtype=torch.float64)

    refined = pamr(image[None], maps[None], iterations=2, dilations=(1, 3))

    expected = pamr_in_plain_loops(image.tolist(), maps.tolist(), 2, (1, 3))
    torch.testing.assert_close(refined[0], expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    colours=st.sampled_from([1, 2, 256]),
    seed=st.integers(0, 2**16),
)
def test_values_stay_finite_and_within_the_range_of_the_map(height, width, colours, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, colours, (2, 3, height, width), generator=generator) * (
        255 // max(colours - 1, 1)
    )
    maps = torch.rand(2, 3, 4, 5, generator=generator)

    refined = pamr(images, maps, iterations=3)

    assert refined.shape == (2, 3, height, width)
    given_at_size = F.interpolate(maps, (height, width), mode="bilinear", align_corners=True)
    low, high = given_at_size.amin((-2, -1)), given_at_size.amax((-2, -1))
    assert (refined.amin((-2, -1)) >= low - 1e-5).all()
    assert (refined.amax((-2, -1)) <= high + 1e-5).all()


def test_photos_of_a_batch_and_maps_of_a_photo_do_not_mix():
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, 16, 20, generator=generator) * 255
    maps = torch.rand(2, 3, 8, 10, generator=generator)

    together = pamr(images, maps)

    for photo in range(2):
        for slot in range(3):
            alone = pamr(images[photo : photo + 1], maps[photo : photo + 1, slot : slot + 1])
            torch.testing.assert_close(together[photo, slot], alone[0, 0])


def test_no_iterations_only_brings_maps_to_photo_size():
    maps = torch.rand(1, 2, 3, 4)
    expected = F.interpolate(maps, (12, 16), mode="bilinear", align_corners=True)
    torch.testing.assert_close(pamr(torch.zeros(1, 3, 12, 16), maps, iterations=0), expected)


def test_no_maps_give_no_maps():
    assert pamr(torch.zeros(2, 3, 12, 16), torch.zeros(2, 0, 3, 4)).shape == (2, 0, 12, 16)


def test_is_detached_and_leaves_its_inputs_alone():
    images, maps = torch.rand(1, 3, 9, 9) * 255, torch.rand(1, 1, 9, 9, requires_grad=True)
    before = images.clone(), maps.detach().clone()
    assert not pamr(images, maps).requires_grad
    assert torch.equal(images, before[0])
    assert torch.equal(maps.detach(), before[1])


def test_normalised_maps_peak_at_one_and_empty_maps_stay_empty():
    maps = torch.stack([torch.full((4, 5), 3.0), torch.zeros(4, 5)])[None]
    normalised = normalise_maps(maps)
    assert normalised[0, 0].max() == pytest.approx(3 / (3 + 1e-5))
    assert (normalised[0, 1] == 0).all()
    assert normalise_maps(maps, eps=1.0)[0, 0].max() == pytest.approx(3 / 4)


def test_misfitting_input_is_refused_by_name():
    with pytest.raises(InputError, match=r"\(2, 3, 8, 8\).*\(1, 1, 8, 8\)"):
        pamr(torch.zeros(2, 3, 8, 8), torch.zeros(1, 1, 8, 8))
    for images, maps in (
        (torch.zeros(3, 8, 8), torch.zeros(3, 1, 8, 8)),
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 8)),
    ):
        with pytest.raises(InputError, match="of the same batch"):
            pamr(images, maps)
    for dilations in ((0, 1), (), (1, -1)):
        with pytest.raises(InputError, match="each 1 pixel or more"):
            pamr(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8), dilations=dilations)
