"""Boxes in a photo, and those around the connected parts of a mask."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Boxes = npt.NDArray[np.int64]
"""(N,4): x0, y0, x1, y1 in pixels; pixel (x, y) is inside where x0 ≤ x < x1 and y0 ≤ y < y1."""

TOUCHING = np.ones((3, 3), np.int64)
"""Pixels that touch at a corner belong together, as contours of the field's evaluations have it."""


def component_boxes(mask: npt.NDArray[np.bool_]) -> tuple[Boxes, npt.NDArray[np.int64]]:
    """The box around each connected part of a (H,W) mask, corners included, and how many pixels the part has.

    >>> boxes, pixels = component_boxes(np.array([[1, 1, 0, 0], [0, 0, 0, 1]], bool))
    >>> boxes.tolist(), pixels.tolist()
    ([[0, 0, 2, 1], [3, 1, 4, 2]], [2, 1])
    """
    parts, count = ndimage.label(mask, TOUCHING)
    found = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(parts)]
    pixels = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    return np.array(found, np.int64).reshape(-1, 4), pixels.astype(np.int64)
