"""Strokes of a brush on a mask: colours back to labels, and the mask they are painted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from getam.data.masks import LabelMap
from getam.errors import InputError

OPAQUE = 128  # of 255: less is the soft rim of a stroke


def painted(
    label: LabelMap, layer: NDArray[Any], colours: NDArray[np.uint8], numbers: Sequence[int]
) -> LabelMap:
    """The mask with the strokes of a layer on it.

    Where two strokes meet, a canvas mixes their colours into one that may be a third class's: such a pixel goes with
    the nearest stroke of a pure colour, not with the nearest colour.

    Args:
        label: (H,W), as large as the photo.
        layer: (h,w,4) uint8 RGBA, transparent where nothing is painted, of another size where the photo was shown
            smaller: then pixels are enlarged as they are.
        colours: (n,3) uint8, different ones.
        numbers: the label that each colour paints.

    Returns:
        A new (H,W) map of the same type.

    Raises:
        InputError: a layer of another kind or shape than the photo's.
    """
    if layer.ndim != 3 or layer.shape[2] != 4 or layer.dtype != np.uint8:
        raise InputError(
            f"strokes are {layer.shape} {layer.dtype}, not (h, w, 4) uint8: load the photo again"
        )
    height, width = label.shape
    if abs(layer.shape[1] - layer.shape[0] * width / height) > 1 + 0.02 * layer.shape[1]:
        raise InputError(
            f"strokes are {layer.shape[1]}×{layer.shape[0]} but the photo is {width}×{height}: load the photo again"
        )
    opaque = layer[..., 3] >= OPAQUE
    if not opaque.any():
        return label.copy()
    distance = (layer[..., None, :3].astype(np.int16) != colours.astype(np.int16)).any(-1)
    which = np.where(distance.all(-1), -1, distance.argmin(-1))
    pure = opaque & (which >= 0)
    if not pure.any():
        raise InputError("the strokes have none of the classes' colours: choose a colour of the brush")
    rows, columns = ndimage.distance_transform_edt(~pure, return_distances=False, return_indices=True)
    strokes = np.array([*numbers, 0])[which[rows, columns]]
    if strokes.shape != label.shape:
        strokes, opaque = _enlarged(strokes, (height, width)), _enlarged(opaque, (height, width))
    return np.where(opaque, strokes, label).astype(label.dtype)


def together(layers: Sequence[NDArray[Any] | None]) -> NDArray[np.uint8] | None:
    """Several layers of one size as one, the last on top: a pixel is that of the topmost layer that is opaque there.

    None where there is nothing painted.
    """
    result: NDArray[np.uint8] | None = None
    for layer in layers:
        if layer is None or layer.shape[-1] != 4 or not (layer[..., 3] >= OPAQUE).any():
            continue
        if result is None:
            result = layer.copy()
        else:
            result = np.where(layer[..., 3:] >= OPAQUE, layer, result)
    return result


def _enlarged(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Nearest neighbour, pixel centres aligned."""
    picture = Image.fromarray(values.astype(np.int32)).resize(size[::-1], Image.Resampling.NEAREST)
    return np.asarray(picture).astype(values.dtype)
