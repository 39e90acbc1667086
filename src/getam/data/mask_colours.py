"""Masks whose labels were written as colours, back to labels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from getam.data.masks import LabelMap, voc_palette
from getam.errors import InputError
from getam.label_numbers import IGNORE


def labels_of_colours(path: Path | str, classes: int) -> LabelMap:
    """(H,W) uint8 labels of an RGB mask in VOC's colours; the colour of 255 is ignore.

    Args:
        path: an image without loss, RGB, or RGBA without transparency.
        classes: number of classes, whose labels 1, 2, … may occur.

    Raises:
        InputError: another kind of image, or a colour that is of none of these labels: then the mask is left to whoever
            made it.
    """
    with _readable(path), Image.open(path) as image:
        if image.mode not in ("RGB", "RGBA") or image.format == "JPEG":
            raise InputError(f"mask {path} is no RGB image without loss: write it again as a palette PNG.")
        pixels = np.asarray(image).astype(np.int64)
    if pixels.shape[2] == 4 and (pixels[..., 3] != 255).any():
        raise InputError(
            f"mask {path} has transparent pixels, which are no label: write it again as a palette PNG."
        )
    codes = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    red, green, blue = np.array(voc_palette()).reshape(256, 3).T
    label_of = dict(zip((red << 16 | green << 8 | blue).tolist(), range(256), strict=True))
    there, inverse = np.unique(codes, return_inverse=True)
    labels = [label_of.get(code, -1) for code in there.tolist()]
    for code, label in zip(there.tolist(), labels, strict=True):
        if not 0 <= label <= classes and label != IGNORE:
            colour = (code >> 16, code >> 8 & 255, code & 255)
            raise InputError(
                f"mask {path} has the colour {colour}, which is none of VOC's for {classes} classes: write it again as"
                " a palette PNG."
            )
    return np.array(labels, np.uint8)[inverse].reshape(codes.shape)


@contextmanager
def _readable(path: Path | str) -> Iterator[None]:
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins raise many types on broken files
        raise InputError(f"mask {path} cannot be read: write it again as a palette PNG.") from error
