"""Outlines along the edges of pixels, and the pixels inside of outlines: exact there and back.

A pixel (row r, column c) is the square from (c, r) to (c + 1, r + 1); an outline's corners are whole numbers, pixel
centres are halves, so no rule about points on an edge is ever needed. Holes are joined to their outline by cuts along
pixel edges, there and back, which enclose nothing (docs/decisions/008).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from getam.data.mask_formats.base import Flags

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


def filled(rings: Sequence[Ring], size: tuple[int, int]) -> Flags:
    """(H,W) bool of the pixels whose centres are inside: those an odd number of edges lies to the left of.

    Args:
        rings: corners (N,2) as x, y in pixels, of any numbers, also outside of the photo; several count together.
        size: (height, width).

    Raises:
        ValueError: corners that are not finite, or not pairs.
    """
    height, width = size
    crossings = np.zeros((height, width + 1), np.int64)
    for ring in rings:
        ring = np.asarray(ring, np.float64).reshape(-1, 2)
        if not np.isfinite(ring).all():
            raise ValueError("a corner is no number")
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0)):
            if y0 > y1:  # every edge from above, so that a cut is the same there and back
                x0, y0, x1, y1 = x1, y1, x0, y0
            first, last = (int(np.clip(np.ceil(y - 0.5), 0, height)) for y in (y0, y1))
            if first >= last:
                continue
            rows = np.arange(first, last)
            x = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
            crossings[rows, np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)] += 1
    return np.cumsum(crossings[:, :width], axis=1) % 2 == 1


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
