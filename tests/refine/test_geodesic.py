"""Geodesic expansion against its four steps in plain loops, with distances by relaxing every step until none helps."""

import math
import statistics
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from getam.errors import InputError
from getam.refine.geodesic import _distances, _pixel_graph, geodesic_expansion


def distances(image, seeds, contrast):
    """Image: nested lists (3,H,W) in standard deviations -> {(y,x): distance}."""
    height, width = len(image[0]), len(image[0][0])
    far = {(y, x): math.inf for y in range(height) for x in range(width)} | dict.fromkeys(seeds, 0.0)
    changed = True
    while changed:
        changed = False
        for y, x in far:
            for dy, dx in [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]:
                if (y + dy, x + dx) in far:
                    change = math.sqrt(sum((p[y][x] - p[y + dy][x + dx]) ** 2 for p in image) / len(image))
                    reached = far[y + dy, x + dx] + (1 - contrast) * math.hypot(dy, dx) + contrast * change
                    if reached < far[y, x] - 1e-12:
                        far[y, x], changed = reached, True
    return far


def largest_component(pixels):
    parts, left = [], set(pixels)
    while left:
        part, edge = set(), [min(left)]
        while edge:
            y, x = edge.pop()
            if (y, x) in left:
                left.remove((y, x))
                part.add((y, x))
                edge += [(y + a, x + b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
        parts.append(part)
    return max(parts, key=len)


def expanded_in_plain_loops(image, unit, fall_off, contrast, margin, variances):
    """Image: nested lists (3,H,W); unit: {(y,x): value in [0,1]} -> {(y,x): value}."""
    height, width = len(image[0]), len(image[0][0])
    sigma = math.sqrt(
        statistics.mean(statistics.pvariance([v for row in plane for v in row]) for plane in image)
    )
    image = [[[value / sigma for value in row] for row in plane] for plane in image]

    def variance(pixels):
        return statistics.mean(statistics.pvariance([p[y][x] for y, x in pixels]) for p in image)

    splits = {}
    for step in range(1, 20):
        inside = [at for at in unit if unit[at] >= step / 20]
        outside = [at for at in unit if unit[at] < step / 20]
        if inside and outside:
            shares = (
                [len(inside) / len(unit), len(outside) / len(unit)] if variances == "weighted" else [0.5, 0.5]
            )
            splits[step / 20] = shares[0] * variance(inside) + shares[1] * variance(outside)
    threshold = min(splits, key=splits.get)
    part = largest_component([at for at in unit if unit[at] >= threshold])
    ys, xs = [y for y, _ in part], [x for _, x in part]
    centre = (round(statistics.mean(ys)), round(statistics.mean(xs)))
    corners = [
        (y, x)
        for y in (max(min(ys) - margin, 0), min(max(ys) + margin, height - 1))
        for x in (max(min(xs) - margin, 0), min(max(xs) + margin, width - 1))
    ]
    near, far = distances(image, [centre], contrast), distances(image, corners, contrast)
    blended = {}
    for at in unit:
        front, back = math.exp(-fall_off * near[at]), 1 - math.exp(-fall_off * far[at])
        P = 0.5
        if back < 0.5:
            P = back
        if front > 0.5 and not (back < 0.5 and far[at] < near[at]):
            P = front
        w = max(2 * math.exp(-fall_off * min(near[at], far[at])) - 1, 0)
        blended[at] = w * P + (1 - w) * unit[at]
    low, high = min(blended.values()), max(blended.values())
    return {at: (value - low) / (high - low) for at, value in blended.items()}


@pytest.mark.parametrize("contrast", [0.0, 0.5, 1.0])
def test_distances_are_0_at_seeds_alone_and_rise_behind_a_wall_that_rises(contrast):
    """The wall runs from edge to edge and is brighter than all else: there is no way past it, and none gets cheaper."""
    photo, wall, seeds = np.random.default_rng(0).random((3, 7, 11)), 5, {2 * 11 + 1, 5 * 11 + 3}
    found = []
    for brightness in (1.0, 1.5, 4.0, 100.0):
        photo[:, :, wall] = brightness
        far = _distances(_pixel_graph(photo, contrast), seeds)
        assert set(np.flatnonzero(far == 0)) == seeds
        found.append(far.reshape(7, 11))
    for lower, higher in pairwise(found):
        assert (higher >= lower).all()
        assert (higher > lower)[:, wall:].all() == (contrast > 0)
    # no cheapest way to what lies before a high wall leads over it
    assert np.array_equal(found[2][:, :wall], found[3][:, :wall])


@pytest.mark.parametrize("variances", ["weighted", "mean"])
@pytest.mark.parametrize(
    ("fall_off", "contrast", "margin"), [(1.0, 1.0, 1), (0.5, 0.7, 2), (2.0, 0.0, 0), (0.3, 1.0, 9)]
)
def test_equals_plain_loops(fall_off, contrast, margin, variances):
    generator = torch.Generator().manual_seed(margin)
    image = torch.randint(0, 256, (3, 7, 8), generator=generator).double()
    image[:, 2:5, 3:6] += 200
    maps = torch.rand(2, 7, 8, generator=generator)
    maps[0, 2:4, 3:5] += 1

    expanded = geodesic_expansion(
        image[None], maps[None], fall_off=fall_off, contrast=contrast, margin=margin, variances=variances
    )[0]

    for given_map, found in zip(maps, expanded):
        unit = ((given_map - given_map.min()) / (given_map.max() - given_map.min())).double()
        expected = expanded_in_plain_loops(
            image.tolist(),
            {at: float(v) for at, v in np.ndenumerate(unit.numpy())},
            fall_off,
            contrast,
            margin,
            variances,
        )
        wanted = torch.tensor([[expected[y, x] for x in range(8)] for y in range(7)])
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def assert_equals_plain_loops(image, given_map, **options):
    """Without options: the defaults of the function, and the numbers of the paper in the loops."""
    numbers = {"fall_off": 1.0, "contrast": 1.0, "margin": 5, "variances": "weighted"} | options
    unit = ((given_map - given_map.min()) / (given_map.max() - given_map.min())).double()
    expected = expanded_in_plain_loops(
        image.tolist(), {at: float(v) for at, v in np.ndenumerate(unit.numpy())}, **numbers
    )
    height, width = given_map.shape
    wanted = torch.tensor([[expected[y, x] for x in range(width)] for y in range(height)])
    found = geodesic_expansion(image[None], given_map[None, None], **options)[0, 0]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def two_tones(shape=(17, 19), inside=np.s_[6:11, 7:12]):
    image = 20 * torch.rand(3, *shape, generator=torch.Generator().manual_seed(2)).double()
    image[:, *inside] += 120
    return image


def test_the_numbers_of_the_paper_are_the_defaults():
    image, spot = two_tones(), torch.zeros(17, 19)
    spot[7:10, 8:11] = 1
    assert_equals_plain_loops(image, spot)  # r = 1, λ = 1, margin 5


@pytest.mark.parametrize("largest", [0, 1, 2])
def test_the_seed_is_the_largest_component_wherever_it_lies(largest):
    image, spots = two_tones(), torch.zeros(17, 19)
    corners = [(1, 2), (7, 12), (13, 4)]
    for place, (y, x) in enumerate(corners):
        side = 3 if place == largest else 2
        spots[y : y + side, x : x + side] = 1
        image[:, y : y + side, x : x + side] += 60
    assert_equals_plain_loops(image, spots)


def test_where_everything_is_near_the_seed_the_result_still_runs_from_0_to_1():
    spot = 0.1 * torch.rand(17, 19)
    spot[8, 9] = 1
    assert_equals_plain_loops(two_tones(), spot, fall_off=0.02, margin=0)


def test_pixels_that_touch_at_a_corner_are_one_component():
    image, spots = two_tones(), torch.zeros(17, 19)
    for step in range(5):  # 5 on a diagonal against 4 in a square
        spots[2 + step, 2 + step] = 1
    spots[12:14, 12:14] = 1
    image[:, spots > 0] += 60
    assert_equals_plain_loops(image, spots)


@pytest.mark.parametrize("level", [0.05, 0.07, 0.5, 0.93, 0.97])
def test_thresholds_run_from_a_twentieth_to_nineteen(level):
    image, steps = two_tones(), torch.zeros(17, 19)
    steps[6:11, 7:12] = level
    steps[8, 9] = 1
    image[:, 8, 9] += 5
    assert_equals_plain_loops(image, steps)


def test_the_last_threshold_splits_a_bright_pixel_from_what_is_hardly_weaker():
    image, steps = 20 * torch.rand(3, 17, 19).double(), torch.zeros(17, 19)
    steps[6:11, 7:12] = 0.93
    steps[8, 9] = 1
    image[:, 8, 9] += 200
    assert_equals_plain_loops(image, steps)


def test_photos_of_a_batch_and_maps_of_a_photo_do_not_mix():
    images = torch.stack([two_tones(), two_tones(inside=np.s_[2:8, 3:9])])
    maps = torch.rand(2, 2, 17, 19)
    together = geodesic_expansion(images, maps)
    for photo in range(2):
        for slot in range(2):
            alone = geodesic_expansion(images[photo : photo + 1], maps[photo : photo + 1, slot : slot + 1])
            torch.testing.assert_close(together[photo, slot], alone[0, 0])


def disc_photo(noise=0.0):
    y, x = torch.meshgrid(torch.arange(40), torch.arange(48), indexing="ij")
    disc = (y - 20) ** 2 + (x - 24) ** 2 <= 10**2
    photo = torch.where(disc, 200.0, 40.0).expand(1, 3, 40, 48)
    return photo + noise * torch.randn(1, 3, 40, 48, generator=torch.Generator().manual_seed(0)), disc


def test_recovers_the_disc_of_a_two_tone_photo_from_a_blob_beside_its_middle():
    photo, disc = disc_photo()
    y, x = torch.meshgrid(torch.arange(40), torch.arange(48), indexing="ij")
    blob = torch.exp(-((y - 18) ** 2 + (x - 27) ** 2) / 40.0)
    expanded = geodesic_expansion(photo, blob[None, None])[0, 0]
    assert torch.equal(expanded > 0.5, disc)
    assert (((blob > 0.5) == disc).float().mean()) < 0.95


def test_one_tone_of_three_equal_channels_is_the_single_channel_of_the_paper():
    photo, _ = disc_photo(noise=3)
    grey = photo[:, :1].expand(1, 3, 40, 48)
    spot = torch.zeros(1, 1, 5, 6)
    spot[..., 2, 3] = 1
    doubled = (
        torch.cat([grey[:, :2], grey[:, :1]], 1) * 0.5 + 17
    )  # brightness and contrast do not matter either
    torch.testing.assert_close(geodesic_expansion(grey, spot), geodesic_expansion(doubled, spot))


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    colours=st.sampled_from([1, 2, 256]),
    magnitude=st.sampled_from([1e-8, 1.0, 1e4]),
    seed=st.integers(0, 2**16),
)
def test_any_photo_and_map_give_finite_maps_from_0_to_1(height, width, colours, magnitude, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, colours, (1, 3, height, width), generator=generator) * (
        255 // max(colours - 1, 1)
    )
    maps = torch.rand(1, 2, height, width, generator=generator) * magnitude
    expanded = geodesic_expansion(images, maps)
    assert expanded.shape == (1, 2, height, width)
    for before, after in zip(maps[0], expanded[0]):
        if before.min() < before.max():
            assert 0 <= after.min() <= after.max() <= 1
        else:
            assert torch.equal(before, after)


def test_a_map_that_nothing_splits_is_left_alone_and_no_map_is_no_map():
    photo, _ = disc_photo()
    flat = torch.stack([torch.zeros(40, 48), torch.full((40, 48), 0.3)])[None]
    assert torch.equal(geodesic_expansion(photo, flat), flat)
    assert geodesic_expansion(photo, torch.zeros(1, 0, 5, 6)).shape == (1, 0, 40, 48)


def test_a_map_that_is_left_alone_leaves_the_next_to_be_expanded():
    photo, _ = disc_photo()
    maps = torch.stack([torch.zeros(40, 48), torch.rand(40, 48)])[None]
    assert torch.equal(geodesic_expansion(photo, maps)[:, 1:], geodesic_expansion(photo, maps[:, 1:]))
    assert not torch.equal(geodesic_expansion(photo, maps)[:, 1:], maps[:, 1:])


def test_inputs_are_left_alone():
    photo, _ = disc_photo()
    photo, maps = photo.clone(), torch.rand(1, 1, 40, 48)
    before = photo.clone(), maps.clone()
    geodesic_expansion(photo, maps)
    assert torch.equal(photo, before[0])
    assert torch.equal(maps, before[1])


def test_numbers_out_of_range_are_refused():
    photo, _ = disc_photo()
    for options in ({"fall_off": 0}, {"contrast": 1.1}, {"contrast": -0.1}, {"margin": -1}):
        with pytest.raises(InputError, match="contrast within 0 and 1"):
            geodesic_expansion(photo, torch.rand(1, 1, 4, 4), **options)
    with pytest.raises(InputError, match="same batch"):
        geodesic_expansion(photo, torch.rand(2, 1, 4, 4))


def test_a_hot_speck_of_the_map_is_no_seed_region_of_its_own():
    generator = torch.Generator().manual_seed(3)
    _, disc = disc_photo()
    shaded = 120 + 6 * (torch.arange(48).float() - 24).expand(40, 48)
    textured = 120 + 120 * torch.randn(40, 48, generator=generator)
    photo = torch.where(disc, shaded, textured).expand(1, 3, 40, 48)
    spot = disc + 0.3 * torch.rand(40, 48, generator=generator)
    spot[20:22, 24:26] = 3
    overlap = {}
    for variances in ("weighted", "mean"):
        found = geodesic_expansion(photo, spot[None, None], variances=variances)[0, 0] > 0.5
        overlap[variances] = float((found & disc).sum() / (found | disc).sum())
    assert overlap["weighted"] > 0.75
    assert overlap["mean"] < 0.4  # the corners around the speck lie in the disc and make it background


def test_unknown_variances_are_named():
    with pytest.raises(InputError, match="variances 'otsu': choose one of weighted, mean"):
        geodesic_expansion(torch.zeros(1, 3, 9, 9), torch.ones(1, 1, 9, 9), variances="otsu")
