"""Pairs, paths and the walk along class boundaries, against loops over cells."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from getam.errors import InputError
from getam.refine.boundary import (
    RADIUS,
    boundary_walk,
    pair_offsets,
    path,
    path_peaks,
    seconds,
)
from getam.refine.random_walk import Walk, random_walk
from getam.refine.registry import REFINERS, refine


def line_of(i, j):
    """Cells of the box of two cells, closer than 1 to the line through them."""
    (yi, xi), (yj, xj) = i, j
    length = math.dist(i, j)
    cells = []
    for y in range(min(yi, yj), max(yi, yj) + 1):
        for x in range(min(xi, xj), max(xi, xj) + 1):
            apart = abs((xj - xi) * (yi - y) - (xi - x) * (yj - yi)) / length if length else 0
            if apart < 1 - 1e-9:
                cells.append((y, x))
    return cells


def affinity_in_loops(boundary, radius):
    """(h,w) → a_ij as nested lists, 1 on the diagonal."""
    height, width = boundary.shape
    cells = [(y, x) for y in range(height) for x in range(width)]

    def alike(i, j):
        if i == j:
            return 1.0
        if math.dist(i, j) >= radius:
            return 0.0
        return 1 - max(float(boundary[cell]) for cell in line_of(i, j))

    return [[alike(i, j) for j in cells] for i in cells]


@pytest.mark.parametrize("radius", [2, 3, 5, 10])
def test_every_pair_within_the_radius_is_there_once(radius):
    offsets = pair_offsets(radius)
    around = {
        (y, x)
        for y in range(-radius, radius + 1)
        for x in range(-radius, radius + 1)
        if 0 < math.hypot(y, x) < radius
    }
    both = set(offsets) | {(-y, -x) for y, x in offsets}
    assert both == around
    assert len(offsets) * 2 == len(around)


@pytest.mark.parametrize("offset", pair_offsets(6))
def test_a_path_is_the_line_between_its_cells(offset):
    found = path(offset)
    assert set(found) == set(line_of((0, 0), offset))
    assert {(0, 0), offset} <= set(found)


def test_the_path_of_a_knights_move_is_all_of_its_box_and_a_long_one_is_not():
    assert len(path((1, 2))) == 6
    assert (0, 4) not in path((4, 4))
    assert path((2, 0)) == ((0, 0), (1, 0), (2, 0))


def test_peaks_and_seconds_are_those_of_a_loop():
    values, offsets = torch.rand(2, 5, 6), pair_offsets(4)
    peaks, other = path_peaks(values, offsets, 7.0), seconds(values, offsets, -3.0)
    assert peaks.shape == other.shape == (2, len(offsets), 5, 6)

    def at(photo, y, x, outside):
        return float(values[photo, y, x]) if 0 <= y < 5 and 0 <= x < 6 else outside

    for photo in range(2):
        for place, (down, right) in enumerate(offsets):
            for y in range(5):
                for x in range(6):
                    line = line_of((y, x), (y + down, x + right))
                    assert peaks[photo, place, y, x] == max(at(photo, *cell, 7.0) for cell in line)
                    assert other[photo, place, y, x] == at(photo, y + down, x + right, -3.0)


@pytest.mark.parametrize(("power", "steps", "radius"), [(10, 3, 5), (2, 1, 2), (0.5, 4, 3), (1, 0, 3)])
def test_the_walk_equals_plain_loops(power, steps, radius):
    maps, boundary = torch.rand(2, 3, 4, 5), torch.rand(2, 4, 5)
    walked = boundary_walk(maps, boundary, power=power, steps=steps, radius=radius)
    for photo in range(2):
        alike = affinity_in_loops(boundary[photo], radius)
        rows = [[a**power for a in row] for row in alike]
        rows = [[a / sum(row) for a in row] for row in rows]
        for slot in range(3):
            values = (maps[photo, slot] * (1 - boundary[photo])).flatten().tolist()
            for _ in range(steps):
                values = [sum(t * v for t, v in zip(row, values)) for row in rows]
            torch.testing.assert_close(walked[photo, slot].flatten(), torch.tensor(values))


def test_it_is_the_dense_walk_on_maps_without_their_boundaries():
    maps, boundary = torch.rand(1, 2, 5, 5), torch.rand(1, 5, 5)
    dense = torch.tensor([affinity_in_loops(boundary[0], RADIUS)])
    expected = random_walk(maps * (1 - boundary)[:, None], dense, walk=Walk(power=10, steps=256))
    torch.testing.assert_close(boundary_walk(maps, boundary), expected, rtol=1e-3, atol=1e-4)


def test_the_numbers_of_the_paper_are_the_defaults():
    maps, boundary = torch.rand(1, 1, 7, 7), torch.rand(1, 7, 7) / 2
    found = boundary_walk(maps, boundary)
    assert torch.equal(found, boundary_walk(maps, boundary, power=10, steps=256, radius=5))
    for other in ({"power": 9}, {"steps": 128}, {"radius": 4}):
        assert not torch.equal(found, boundary_walk(maps, boundary, **other))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**20))
def test_nothing_crosses_a_wall_and_nothing_grows(seed):
    generator = torch.Generator().manual_seed(seed)
    boundary = torch.rand(1, 6, 9, generator=generator)
    boundary[:, :, 4] = 1
    maps = torch.rand(1, 2, 6, 9, generator=generator)
    maps[..., 4:] = 0
    walked = boundary_walk(maps, boundary, steps=20)
    assert not walked[..., 4:].any()
    assert walked.amax() <= maps.amax()
    assert walked.amin() >= 0


def test_a_map_fills_what_no_boundary_divides():
    boundary = torch.zeros(1, 6, 9)
    boundary[:, :, 5] = 1
    maps = torch.zeros(1, 1, 6, 9)
    maps[0, 0, 2, 1] = 30.0
    walked = boundary_walk(maps, boundary)[0, 0]
    torch.testing.assert_close(walked[:, :5].amin(), walked[:, :5].amax(), atol=0.02, rtol=0)
    assert walked[0, 0] > 0.1


def test_photos_without_classes_and_batches_without_photos():
    assert boundary_walk(torch.rand(2, 0, 4, 4), torch.rand(2, 4, 4)).shape == (2, 0, 4, 4)
    assert boundary_walk(torch.rand(0, 2, 4, 4), torch.rand(0, 4, 4)).shape == (0, 2, 4, 4)


@pytest.mark.parametrize(
    ("maps", "boundary", "options", "said"),
    [
        (torch.rand(1, 2, 4, 4), torch.rand(1, 4, 5), {}, r"pass \(B,K,h,w\) and \(B,h,w\)"),
        (torch.rand(2, 4, 4), torch.rand(2, 4, 4), {}, r"pass \(B,K,h,w\) and \(B,h,w\)"),
        (torch.rand(1, 2, 4, 4), torch.full((1, 4, 4), 1.1), {}, r"outside \[0,1\]"),
        (torch.rand(1, 2, 4, 4), torch.full((1, 4, 4), -0.1), {}, r"outside \[0,1\]"),
        (torch.rand(1, 2, 4, 4), torch.full((1, 4, 4), math.nan), {}, "boundary"),
        (torch.full((1, 2, 4, 4), math.nan), torch.rand(1, 4, 4), {}, "maps"),
        (torch.rand(1, 2, 4, 4), torch.rand(1, 4, 4), {"power": 0}, "power 0 must be above 0"),
        (torch.rand(1, 2, 4, 4), torch.rand(1, 4, 4), {"steps": -1}, "steps -1"),
        (torch.rand(1, 2, 4, 4), torch.rand(1, 4, 4), {"radius": 1}, "radius 1 of pairs of cells"),
    ],
)
def test_what_makes_no_sense_is_refused(maps, boundary, options, said):
    with pytest.raises(InputError, match=said):
        boundary_walk(maps, boundary, **options)


def test_walk_irn_follows_boundaries_where_there_are_some_and_no_other_refiner_does():
    maps, boundary, affinity = torch.rand(1, 2, 3, 4), torch.rand(1, 3, 4), torch.rand(1, 12, 12)
    walked = boundary_walk(maps, boundary)
    assert torch.equal(refine(["walk-irn"], maps, boundary=boundary), walked)
    assert torch.equal(refine(["walk-irn"], maps, boundary=boundary, affinity=affinity), walked)
    afa = refine(["walk-afa"], walked, affinity=affinity)
    assert torch.equal(refine(["walk-irn", "walk-afa"], maps, boundary=boundary, affinity=affinity), afa)
    assert [name for name, refiner in REFINERS.items() if refiner.along] == ["walk-irn"]
