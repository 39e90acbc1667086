"""Tiles: a function of single pixels comes back as it was, whatever the tiles; memory is that of one row of them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from getam.errors import InputError
from getam.tiles import OVERLAP, Floats, Rows, Side, blended, tiles_along


@st.composite
def sides(draw: st.DrawFn) -> Side:
    length, tile = draw(st.integers(1, 60)), draw(st.integers(1, 30))
    overlap, unit = draw(st.sampled_from([0, 0.1, 0.25, 0.5, 0.9])), draw(st.integers(1, tile))
    return tiles_along(length, tile, overlap=overlap, unit=unit)


@given(sides())
def test_every_pixel_is_covered_and_weights_sum_to_one(side: Side) -> None:
    total = np.zeros(side.length)
    for start, weights in zip(side.starts, side.weights, strict=True):
        assert 0 <= start <= side.length - side.tile
        assert (weights > 0).all()
        total[start : start + side.tile] += weights
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert list(side.starts) == sorted(set(side.starts))


@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 6), st.sampled_from([0, 0.25, 0.5]))
def test_tiles_lie_on_patches_and_overlap_enough_but_are_no_more_than_needed(
    patches: int, tile: int, patch: int, overlap: float
) -> None:
    side = tiles_along(patches * patch, tile * patch, overlap=overlap, unit=patch)
    assert all(start % patch == 0 for start in side.starts)
    gaps = np.diff(side.starts)
    assert (gaps <= max(patch, side.tile * (1 - overlap))).all()
    step = max(1, int(side.tile * (1 - overlap)) // patch)
    assert len(side.starts) == 1 + -(-(patches - side.tile // patch) // step)
    assert gaps.max(initial=0) - gaps.min(initial=10**6 if len(gaps) else 0) <= patch


def test_a_quarter_overlaps_by_default_and_edges_hardly_count() -> None:
    side = tiles_along(280, 160)
    assert (side.starts, OVERLAP) == ((0, 120), 0.25)
    first, second = side.weights
    np.testing.assert_allclose(first[:120], 1)
    np.testing.assert_allclose(first[120:], second[:40][::-1], atol=1e-6)
    assert first[-1] < 0.001 < first[150] < first[140] < first[121] < 1
    rising = np.sin((np.arange(40) + 0.5) / 40 * np.pi / 2) ** 2
    np.testing.assert_allclose(second[:40], rising, rtol=1e-5)


@settings(max_examples=40)
@given(sides(), sides())
def test_a_function_of_pixels_comes_back_as_it_was(down: Side, across: Side) -> None:
    whole = np.random.default_rng(0).normal(size=(3, down.length, across.length)).astype(np.float32)
    asked: list[int] = []

    def values_of(boxes: list[tuple[int, int, int, int]]) -> Iterator[Floats]:
        asked.append(len(boxes))
        for left, top, right, bottom in boxes:
            yield whole[:, top:bottom, left:right]

    bands = list(blended(down, across, values_of))
    np.testing.assert_allclose(np.concatenate(bands, axis=1), whole, atol=1e-5)
    assert [band.shape[1] for band in bands] == [*np.diff(down.starts), down.tile]
    assert asked == [len(across.starts)] * len(down.starts)


def test_memory_is_that_of_one_row_of_tiles_however_high_the_photo() -> None:
    across = tiles_along(600, 40)
    peaks = []
    for height in (400, 4000):
        down = tiles_along(height, 40)
        tracemalloc.start()
        for band in blended(down, across, lambda boxes: (np.ones((5, 40, 40), np.float32) for _ in boxes)):
            assert band.shape[1] <= 40
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0] < 5e6  # 4000 rows of 5 classes are 48 MB


def test_rows_of_bands_are_those_of_the_whole_and_what_is_forgotten_is_let_go() -> None:
    whole = np.arange(2 * 20 * 3, dtype=np.float32).reshape(2, 20, 3)
    given_out: list[int] = []

    def bands() -> Iterator[Floats]:
        for top, end in ((0, 4), (4, 5), (5, 12), (12, 20)):
            given_out.append(end)
            yield whole[:, top:end]

    rows = Rows(bands())
    for first, end in ((0, 3), (0, 4), (2, 8), (4, 5), (3, 12)):
        np.testing.assert_array_equal(rows.between(first, end), whole[:, first:end])
    assert given_out == [4, 5, 12]  # no further than asked
    rows.forget(5)
    np.testing.assert_array_equal(rows.between(5, 20), whole[:, 5:])
    rows.forget(11)  # the band that row 11 is in stays
    np.testing.assert_array_equal(rows.between(11, 13), whole[:, 11:13])
    with pytest.raises(AssertionError):
        rows.between(4, 13)


@pytest.mark.parametrize(
    "numbers", [(0, 4, 0.25, 1), (4, 0, 0.25, 1), (4, 4, 1.0, 1), (4, 4, -0.1, 1), (9, 4, 0.25, 5)]
)
def test_numbers_that_make_no_tiles_are_refused(numbers: tuple[int, int, float, int]) -> None:
    with pytest.raises(InputError, match=f"no tiles of {numbers[1]} with overlap {numbers[2]} along"):
        tiles_along(numbers[0], numbers[1], overlap=numbers[2], unit=numbers[3])
