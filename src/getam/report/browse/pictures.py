"""The pictures of the gallery: a photo and its masks, small for the overview and larger to look at, as files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from getam.data.masks import LabelMap
from getam.label_numbers import ignore_label
from getam.report.overlay import HATCH_GREYS, LABEL_OPACITY, outline, stripes
from getam.report.palette import CLASS_COLOURS, colour_rows, colour_table

THUMBS, PICTURES = "thumbs", "pictures"
THUMB_SIDE, VIEW_SIDE = 288, 800
"""Long sides in pixels: a tile on a screen of two pixels a point or a large one, and a photo that fills a window."""
EXACT_SIDE = 200
"""Photos no larger than this are kept as PNG: JPEG would blur what is magnified later."""
QUALITY = 82  # of JPEGs; what is looked at is the mask

_GREYS = len(CLASS_COLOURS) + 1, len(CLASS_COLOURS) + 2  # rows of a layer's palette after those of classes
_WHITE = len(CLASS_COLOURS) + 3


def file_name(place: int, layer: int | None, small: bool) -> str:
    """What the picture of a photo is called in both folders, or that of a layer of masks over it.

    >>> file_name(7, None, small=False), file_name(7, 0, small=False)
    ('7.jpg', '7-0.png')
    """
    if layer is not None:
        return f"{place}-{layer}.png"
    return f"{place}.{'png' if small else 'jpg'}"


def is_small(size: tuple[int, int]) -> bool:
    """Whether a photo of that (height, width) is kept exactly."""
    return max(size) <= EXACT_SIDE


def write_pictures(
    folder: Path,
    place: int,
    photo: Image.Image,
    size: tuple[int, int],
    masks: Mapping[int, LabelMap],
    classes: int,
) -> None:
    """Write a photo and its masks in both sizes.

    Args:
        folder: of the gallery, with its folders `THUMBS` and `PICTURES`.
        place: number of the photo.
        photo: RGB, at least as large as it will be shown.
        size: (height, width) of the photo's file, and of the masks.
        masks: number of a layer → (H, W) labels of the page's classes.
        classes: how many there are.
    """
    for where, side in ((THUMBS, THUMB_SIDE), (PICTURES, VIEW_SIDE)):
        shrunk = fitting(size, side)
        picture = (
            photo if photo.size == shrunk[::-1] else photo.resize(shrunk[::-1], Image.Resampling.BICUBIC)
        )
        picture.save(folder / where / file_name(place, None, is_small(size)), quality=QUALITY)
        for layer, mask in masks.items():
            drawn = layer_png(_nearest(mask, shrunk), classes)
            (folder / where / file_name(place, layer, False)).write_bytes(drawn)


def fitting(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(height, width) with a long side of at most `side`.

    >>> fitting((600, 1200), 300), fitting((20, 30), 300), fitting((1, 3000), 300)
    ((150, 300), (20, 30), (1, 300))
    """
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def layer_png(mask: LabelMap, classes: int) -> bytes:
    """A mask to be laid over its photo: classes in their colours with an outline, background clear, undecided hatched.

    Args:
        mask: (H, W) labels 0 to `classes`, or undecided.
        classes: how many there are.

    Returns:
        A palette PNG with transparency.
    """
    undecided = mask == ignore_label(classes)
    rows: NDArray[Any] = colour_rows(np.where(undecided, 0, mask))
    rows = np.where(undecided, np.where(stripes(mask.shape), *_GREYS), rows)
    rows = np.where(outline(mask) & (rows > 0) & ~undecided, _WHITE, rows)
    image = Image.fromarray(rows.astype(np.uint8))
    greys = [[grey] * 3 for grey in HATCH_GREYS]
    image.putpalette(np.array([*colour_table().tolist(), *greys, [255] * 3], np.uint8).tobytes())
    packed = io.BytesIO()
    ink = round(255 * LABEL_OPACITY)
    image.save(packed, "PNG", transparency=bytes([0, *[ink] * (len(CLASS_COLOURS) + 2), 255]))
    return packed.getvalue()


def _nearest(mask: LabelMap, size: tuple[int, int]) -> LabelMap:
    """The mask at another (height, width): of each of its pixels' blocks the one in the middle."""
    rows = ((np.arange(size[0]) + 0.5) * mask.shape[0] / size[0]).astype(np.intp)
    columns = ((np.arange(size[1]) + 0.5) * mask.shape[1] / size[1]).astype(np.intp)
    return mask[rows[:, None], columns[None]]
