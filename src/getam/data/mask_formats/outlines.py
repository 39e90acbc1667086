"""Outlines along the edges of pixels, and the pixels inside of outlines: exact there and back.

A pixel (row r, column c) is the square from (c, r) to (c + 1, r + 1); an outline's corners are whole numbers, pixel
centres are halves, so no rule about points on an edge is ever needed. Holes are joined to their outline by cuts along
pixel edges, there and back, which enclose nothing (docs/decisions/008).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from getam.data.mask_formats.base import Flags, Label

Ring = npt.NDArray[np.float64]

STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""East, south, west, north, as x and y: each is a right turn from the one before."""

STARTS = ((0, 0), (1, 0), (1, 1), (0, 1))
"""Of a pixel at (0, 0): where its edge in each direction starts, when the pixel is at the right hand of the walker."""


def outlines(flags: Flags) -> Iterator[tuple[Ring, int]]:
    """One closed outline for each part of a (H,W) mask whose pixels hang together by their sides.

    Yields corners (N,2) as x, y, the last not the first again, clockwise on a screen, and the number of holes that were
    joined to it.

    >>> [(ring.tolist(), holes) for ring, holes in outlines(np.array([[True, True]]))]
    [([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 1.0]], 0)]
    """
    from scipy import ndimage  # here: it takes half a second to load, and few formats have outlines

    parts, count = ndimage.label(flags)
    rings: list[list[Ring]] = [[] for _ in range(count)]
    for part, ring in _rings(parts):
        rings[part - 1].append(ring)
    for own in rings:
        outer = next(ring for ring in own if _area(ring) > 0)
        holes = [ring for ring in own if _area(ring) < 0]
        joined = outer
        for hole in holes:
            joined = _join(joined, hole)
        yield joined, len(holes)


def fill(label: Label, ring: Ring, number: int) -> None:
    """Write `number` where pixel centres are inside: where an odd number of edges lies to the left.

    Takes time and memory for the rectangle around the ring, not for the photo: a photo may hold thousands.

    Args:
        label: (H,W) of any integer dtype, written to.
        ring: corners (N,2) as x, y in pixels, of any numbers, also outside of the photo.
        number: what the pixels become.

    Raises:
        ValueError: corners that are not finite, or not pairs.

    >>> label = np.zeros((2, 3), np.uint16)
    >>> fill(label, np.array([[1, 0], [3, 0], [3, 2]]), 7)
    >>> label.tolist()
    [[0, 7, 7], [0, 0, 7]]
    """
    starts = np.asarray(ring, np.float64).reshape(-1, 2)
    if not np.isfinite(starts).all():
        raise ValueError("a corner is no number")
    ends = np.roll(starts, -1, axis=0)
    rising = (starts[:, 1] > ends[:, 1])[:, None]  # every edge from above: a cut is the same there and back
    (x0, y0), (x1, y1) = np.where(rising, ends, starts).T, np.where(rising, starts, ends).T
    first, last = _centres(y0, label.shape[0]), _centres(y1, label.shape[0])
    crossing = last > first
    if not crossing.any():
        return
    x0, y0, x1, y1, first, last = (each[crossing] for each in (x0, y0, x1, y1, first, last))
    count = last - first  # of rows, by edge
    edge = np.repeat(np.arange(len(count)), count)
    rows = np.arange(len(edge)) + (first - np.cumsum(count) + count)[edge]
    x = x0[edge] + (rows + 0.5 - y0[edge]) * ((x1 - x0) / (y1 - y0))[edge]
    columns = _centres(x, label.shape[1])
    top, left = rows.min(), columns.min()
    box = label[top : rows.max() + 1, left : columns.max()]
    height, width = box.shape
    places = (rows - top) * (width + 1) + columns - left
    crossings = np.bincount(places, minlength=height * (width + 1)).reshape(height, width + 1)
    box[np.logical_xor.accumulate(crossings[:, :width] % 2 == 1, axis=1)] = number


def _centres(at: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
    """Which of `count` pixels, or none after the last, is the first whose centre is not before `at`."""
    return np.clip(np.ceil(at - 0.5), 0, count).astype(np.int64)


def _rings(parts: npt.NDArray[np.int32]) -> Iterator[tuple[int, Ring]]:
    """Part number and corners of every ring of edges: outer ones clockwise, holes the other way round."""
    framed = np.pad(parts, 1)
    edges: dict[
        tuple[int, int, int, int], None
    ] = {}  # part, x, y of the start, direction; in an order that stays
    for direction, (dx, dy) in enumerate(STARTS):
        left_x, left_y = STEPS[direction - 1]  # at the left hand there must be something else
        height, width = parts.shape
        left = framed[1 + left_y : 1 + left_y + height, 1 + left_x : 1 + left_x + width]
        rows, columns = np.nonzero((parts > 0) & (left != parts))
        for part, x, y in zip(parts[rows, columns].tolist(), (columns + dx).tolist(), (rows + dy).tolist()):
            edges[part, x, y, direction] = None
    while edges:
        first = edge = edges.popitem()[0]
        corners = []
        while True:
            part, x, y, direction = edge
            x, y = x + STEPS[direction][0], y + STEPS[direction][1]
            # Right before straight before left: where two pixels of a part touch with their corners only, this stays
            # with the pixel one came along, and what is on the other side is found from there.
            ahead = [(part, x, y, (direction + turn) % 4) for turn in (1, 0, -1)]
            edge = next(option for option in ahead if option in edges or option == first)
            if edge[3] != direction:
                corners.append((x, y))
            if edge == first:
                break
            del edges[edge]
        yield part, np.array(corners, np.float64)


def _area(ring: Ring) -> float:
    """Twice what the ring encloses: above zero where it runs clockwise on a screen."""
    x, y = ring.T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def _join(outline: Ring, hole: Ring) -> Ring:
    """One ring of two: from the outline's corner that is next to the hole along a row and a column, round, and back."""
    start = hole[0]
    place = int(np.abs(outline - start).sum(1).argmin())
    bend = np.array([[start[0], outline[place][1]]])
    way = np.concatenate((outline[: place + 1], bend, hole, hole[:1], bend, outline[place:]))
    return way[np.any(way != np.roll(way, 1, axis=0), axis=1)]
