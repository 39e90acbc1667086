"""How large a photo is when a network sees it: numbers only, for networks of torch and for exported ones alike."""

from __future__ import annotations

from collections.abc import Sequence

from getam.errors import InputError

SINGLE_SCALE = (320,)
"""Long side that segmenters of crops of 224 see by default; chosen on tune, and on other classes of MSRC
(docs/results.md)."""

LARGER_THAN_CROPS = 1.4
"""Of crops of 320 the best of 256, 320, 384, 448 and 512 is 448, of 224 it is 320; of smaller ones 320 is as good."""

WORK_SIDE = 1000
"""Larger photos are shrunk to this long side, or to the largest scale; their masks are enlarged."""

REFINED_SIDE = 500
"""Long side of what refiners and CRFs see of a larger photo: VOC's, for which their published numbers in pixels were
found."""


def usual_side(crop: int | None) -> int:
    """Long side at which a segmenter sees a photo unless told otherwise; `crop` is what it was trained on, if known.

    >>> usual_side(320), usual_side(224), usual_side(None)
    (448, 320, 320)
    """
    return max(SINGLE_SCALE[0], round(LARGER_THAN_CROPS * (crop or 0)))


def require_sides(scales: Sequence[int]) -> None:
    """Raise `InputError` unless these are long sides at which photos can be seen."""
    if not scales or min(scales) < 1:
        raise InputError(f"scales {tuple(scales)} must be one or more positive long sides in pixels")


def fit_patches(height: int, width: int, long_side: int, patch: int) -> tuple[int, int]:
    """(h, w) near the photo's shape with this long side, both multiples of the patch.

    >>> fit_patches(375, 500, long_side=256, patch=16)
    (192, 256)
    """
    scale = long_side / max(height, width)
    return tuple(max(patch, round(side * scale / patch) * patch) for side in (height, width))  # type: ignore[return-value]


def fit_long_side(height: int, width: int, long_side: int) -> tuple[int, int]:
    """(h, w) of a photo shrunk to at most this long side, shape kept; of a smaller one its own.

    >>> fit_long_side(3000, 4000, 1000), fit_long_side(30, 40, 1000)
    ((750, 1000), (30, 40))
    """
    scale = long_side / max(height, width)
    if scale >= 1:
        return height, width
    return max(1, round(height * scale)), max(1, round(width * scale))


def seen_size(height: int, width: int, scale: float = 1.0) -> tuple[int, int]:
    """(h, w) of a photo brought to a long side of `REFINED_SIDE` if larger, then to `scale` of its sides.

    The scale rounds down, but never to nothing.
    """
    longest = max(height, width)
    if longest > REFINED_SIDE:
        height, width = (max(1, round(side * REFINED_SIDE / longest)) for side in (height, width))
    return max(1, int(height * scale)), max(1, int(width * scale))
