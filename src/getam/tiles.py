"""Large photos in overlapping tiles: where they lie, how they are blended, and their rows as they become final.

A tile's border knows nothing of what lies beyond it. Weights fall to nothing towards the borders that other tiles
cover, as a raised cosine over the overlap, and sum to one at every pixel: no seam shows. Rows are given out as soon as
no further tile reaches them, so that memory holds one row of tiles, however many there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from getam.errors import InputError

Floats = npt.NDArray[np.float32]
Box = tuple[int, int, int, int]
"""Left, top, right and bottom, the latter two exclusive, as Pillow's `crop` has them."""

OVERLAP = 0.25
"""Share of a tile's side that its neighbour sees too, at least; measured in docs/reliability.md."""


@dataclass(frozen=True)
class Side:
    """The tiles along one side of a photo.

    Attributes:
        length: of the photo.
        tile: of each tile; all are as long.
        starts: their first pixels, ascending; the last tile ends with the photo.
    """

    length: int
    tile: int
    starts: tuple[int, ...]

    @property
    def weights(self) -> Floats:
        """(tiles, tile): how much each says at each of its pixels; at every pixel of the photo they sum to one."""
        raw = np.ones((len(self.starts), self.tile))
        total = np.zeros(self.length)
        for number, start in enumerate(self.starts):
            before = self.starts[number - 1] + self.tile - start if number else 0
            after = start + self.tile - self.starts[number + 1] if number + 1 < len(self.starts) else 0
            raw[number, :before] *= _rising(before)
            raw[number, self.tile - after :] *= _rising(after)[::-1]
            total[start : start + self.tile] += raw[number]
        for number, start in enumerate(self.starts):
            raw[number] /= total[start : start + self.tile]
        return raw.astype(np.float32)


def tiles_along(length: int, tile: int, *, overlap: float = OVERLAP, unit: int = 1) -> Side:
    """The fewest tiles of a side that overlap enough, evenly spread.

    Args:
        length: of the photo, in pixels.
        tile: of a tile; a shorter photo is one tile.
        overlap: least share of a tile that each neighbour sees too, 0 to below 1.
        unit: starts are multiples of it, such as of a network's patches; the last one where `length` and `tile` are.

    Raises:
        InputError: numbers that make no tiles.

    >>> tiles_along(100, 40, overlap=0.25).starts, tiles_along(30, 40).starts
    ((0, 30, 60), (0,))
    """
    if length < 1 or not 1 <= unit <= tile or not 0 <= overlap < 1:
        raise InputError(
            f"no tiles of {tile} with overlap {overlap} along {length} pixels, in steps of {unit}"
        )
    tile = min(tile, length)
    room = -(-(length - tile) // unit)  # in units
    step = max(1, int(tile * (1 - overlap)) // unit)
    count = -(-room // step)
    starts = [unit * (room * number // count) for number in range(count)]
    return Side(length, tile, (*starts, length - tile))


def boxes_of(down: Side, across: Side) -> Iterator[list[Box]]:
    """The tiles, a list for each row of them, from the top."""
    for top in down.starts:
        yield [(left, top, left + across.tile, top + down.tile) for left in across.starts]


def blended(down: Side, across: Side, values_of: Callable[[list[Box]], Iterable[Floats]]) -> Iterator[Floats]:
    """What tiles say, blended, as bands of rows that are final, from the top.

    Args:
        down, across: the tiles along height and width.
        values_of: the tiles of one row → (C,tile,tile) of each, in order; asked row by row.

    Yields:
        (C,rows,W) float32; all together they are (C,H,W).
    """
    heavy, wide = down.weights, across.weights
    total: Floats | None = None
    for row, boxes in enumerate(boxes_of(down, across)):
        for (left, _, right, _), weights, values in zip(boxes, wide, values_of(boxes), strict=True):
            if total is None:
                total = np.zeros((len(values), down.tile, across.length), np.float32)
            total[:, :, left:right] += values * (heavy[row][:, None] * weights)
        assert total is not None
        final = (down.starts[row + 1] if row + 1 < len(down.starts) else down.length) - down.starts[row]
        yield total[:, :final].copy()
        total[:, : down.tile - final] = total[:, final:].copy()
        total[:, down.tile - final :] = 0


class Rows:
    """Bands of rows that come one after the other, kept as long as they are needed.

    Args:
        bands: (C,rows,W) each, from the top.
    """

    def __init__(self, bands: Iterator[Floats]) -> None:
        self._bands = bands
        self._kept: deque[Floats] = deque()
        self._first = self._end = 0

    def between(self, first: int, end: int) -> Floats:
        """(C,end−first,W); none of them forgotten."""
        while self._end < end:
            self._kept.append(next(self._bands))
            self._end += self._kept[-1].shape[1]
        assert self._first <= first
        parts, top = [], self._first
        for band in self._kept:
            bottom = top + band.shape[1]
            if top < end and bottom > first:
                parts.append(band[:, max(0, first - top) : end - top])
            top = bottom
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def forget(self, before: int) -> None:
        """Rows above `before` are not asked for again."""
        while self._kept and self._first + self._kept[0].shape[1] <= before:
            self._first += self._kept.popleft().shape[1]


def _rising(length: int) -> npt.NDArray[np.float64]:
    """(length,) from almost 0 to almost 1; with its mirror image it sums to one."""
    return np.sin(np.pi / 2 * (np.arange(length) + 0.5) / max(1, length)) ** 2
