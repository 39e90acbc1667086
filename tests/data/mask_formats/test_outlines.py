"""Outlines against pixels counted one by one, and against polygon fillers of other libraries."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.measure import points_in_poly

from getam.data.mask_formats.outlines import Ring, fill, outlines


def filled(ring: Ring, size: tuple[int, int]) -> np.ndarray:
    """(H,W) bool of the pixels inside; the others are as they were."""
    label = np.full(size, 3, np.uint16)
    fill(label, ring, 7)
    assert set(np.unique(label)) <= {3, 7}
    return label == 7


FLAGS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))


@settings(max_examples=300, deadline=None)
@given(FLAGS)
def test_every_part_has_one_outline_which_fills_to_its_pixels(flags: np.ndarray) -> None:
    parts, count = ndimage.label(flags)
    found = list(outlines(flags))
    assert len(found) == count
    for part, (ring, _) in enumerate(found, start=1):
        np.testing.assert_array_equal(filled(ring, flags.shape), parts == part)


@settings(max_examples=60, deadline=None)
@given(FLAGS)
def test_another_library_finds_the_same_pixels_inside(flags: np.ndarray) -> None:
    height, width = flags.shape
    centres = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1).reshape(-1, 2)
    inside = np.zeros(flags.size, bool)
    for ring, _ in outlines(flags):
        inside |= points_in_poly(centres, ring)
    np.testing.assert_array_equal(inside.reshape(flags.shape), flags)


@settings(max_examples=60, deadline=None)
@given(FLAGS)
def test_corners_are_corners_of_pixels_and_edges_run_along_rows_and_columns(flags: np.ndarray) -> None:
    for ring, _ in outlines(flags):
        assert np.array_equal(ring, ring.round())
        assert (ring >= 0).all()
        assert (ring <= flags.shape[::-1]).all()
        step = np.abs(np.roll(ring, -1, axis=0) - ring)
        assert ((step > 0).sum(1) == 1).all()  # one of x and y changes: no corner twice


def test_holes_are_counted() -> None:
    flags = np.ones((5, 7), bool)
    assert [holes for _, holes in outlines(flags)] == [0]
    flags[1, 1] = flags[3, 4:6] = False
    assert [holes for _, holes in outlines(flags)] == [2]
    flags[2, 2] = False  # touches the first at a corner: one hole for those who walk by sides only
    assert [holes for _, holes in outlines(flags)] == [2]


def test_outlines_run_clockwise_on_a_screen() -> None:
    ((ring, _),) = outlines(np.ones((2, 3), bool))
    x, y = ring.T
    assert np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) == 2 * 6
    assert len(ring) == 4


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.floats(-3, 9), st.floats(-3, 9)), min_size=1, max_size=9))
def test_slanted_polygons_are_filled_where_a_ray_crosses_an_odd_number_of_edges(ring: list) -> None:
    height, width = 5, 6
    flags = filled(np.array(ring), (height, width))
    for row in range(height):
        for column in range(width):
            x, y, odd, near = column + 0.5, row + 0.5, False, False
            for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]]):
                if (y0 <= y) != (y1 <= y):
                    crossing = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
                    odd ^= crossing <= x
                    near |= abs(crossing - x) < 1e-9
            assert near or flags[row, column] == odd


@pytest.mark.parametrize(
    "ring", [[], [[1, 1]], [[-9, -9], [-5, -9], [-5, -5]], [[0, 0.6], [5, 0.6], [5, 1.4]]]
)
def test_where_no_centre_is_inside_nothing_changes(ring: list) -> None:
    assert not filled(np.array(ring), (4, 4)).any()


def test_a_small_ring_on_a_large_photo_takes_little_memory() -> None:
    label = np.zeros((3000, 4000), np.uint16)
    tracemalloc.start()
    fill(label, np.array([[3000, 2000], [3020, 2000], [3020, 2010], [3000, 2010]]), 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert label[2000:2010, 3000:3020].all()
    assert label.sum() == 200
    assert peak < label.size // 10  # bytes


@pytest.mark.parametrize("corner", [np.nan, np.inf])
def test_corners_that_are_no_numbers_are_refused(corner: float) -> None:
    with pytest.raises(ValueError, match="no number"):
        filled(np.array([[0, 0], [corner, 1], [1, 1]]), (2, 2))
