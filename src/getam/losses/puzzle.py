"""Puzzle-CAM (arXiv 2101.11253): the score map of a photo and that of its tiles, put together, should be the same."""

from __future__ import annotations

from math import isqrt

from torch import Tensor

from getam.attention.calls import wide
from getam.errors import InputError
from getam.refine.scaled import scale_to_peak


def tiles_a_side(pieces: int) -> int:
    """√pieces.

    Raises:
        InputError: `pieces` is no square number above 0.

    >>> tiles_a_side(9)
    3
    """
    side = isqrt(max(0, pieces))
    if side < 1 or side * side != pieces:
        raise InputError(
            f"{pieces} pieces do not fill a square of tiles: give a square number such as 4, 9 or 16"
        )
    return side


def tile(images: Tensor, pieces: int) -> Tensor:
    """Photos (B,D,H,W) cut into √pieces × √pieces tiles: (B·pieces,D,H/√pieces,W/√pieces), photo by photo, row by row.

    Raises:
        InputError: `pieces` is no square number, or the sides cannot be divided by its root.
    """
    side = tiles_a_side(pieces)
    height, width = images.shape[-2:]
    if height % side or width % side:
        raise InputError(
            f"{height}×{width} pixels cannot be cut into {side}×{side} tiles: give sides that are multiples of {side}"
        )
    rows = images.unflatten(3, (side, width // side)).unflatten(2, (side, height // side))
    return rows.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def merge(tiles: Tensor, pieces: int) -> Tensor:
    """What `tile` took apart, of any size: (B·pieces,D,h,w) → (B,D,√pieces·h,√pieces·w).

    The number of photos is that of the tiles, never a nominal batch size.

    Raises:
        InputError: `pieces` is no square number, or the tiles are no multiple of it.
    """
    side = tiles_a_side(pieces)
    if len(tiles) % pieces:
        raise InputError(f"{len(tiles)} tiles are no whole photos of {pieces} pieces: give all tiles of each")
    grid = tiles.unflatten(0, (len(tiles) // pieces, side, side))
    return grid.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def reconstruction_loss(
    whole: Tensor, merged: Tensor, tags: Tensor, *, squared: bool = False, normalised: bool = False
) -> Tensor:
    """L_re = mean_{b,c,p} y_bc |A − A_re|, over all classes and positions; gradients flow into both maps.

    Args:
        whole: A (B,C,h,w), score maps of the photos, of either sign.
        merged: A_re (B,C,h,w), those of their tiles.
        tags: y (B,C) in {0,1}; a class that is absent, or that nobody looked for, adds nothing.
        squared: (A − A_re)² instead (the paper's L2).
        normalised: compare relu(A) / max relu(A), each map by its own peak, instead of raw scores.

    Returns:
        Scalar; 0 with a graph for an empty batch.
    """
    maps = (wide(whole), wide(merged))
    if normalised:
        maps = (scale_to_peak(maps[0].relu()), scale_to_peak(maps[1].relu()))
    difference = maps[0] - maps[1]
    each = difference.square() if squared else difference.abs()
    return (each * (tags > 0)[..., None, None]).sum() / max(1, each.numel())


def reconstruction_weight(progress: float, alpha: float, ramp: float) -> float:
    """α(t): from 0 to `alpha` in a line over the first share `ramp` of the steps, then `alpha`.

    >>> [reconstruction_weight(t, 4.0, 0.5) for t in (0.0, 0.25, 0.5, 0.9)]
    [0.0, 2.0, 4.0, 4.0]
    """
    return alpha * min(1.0, progress / ramp) if ramp else alpha
