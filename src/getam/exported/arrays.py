"""Photos and logits resized in NumPy and Pillow as torch resizes them, for where there is no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from getam.data.masks import LabelMap
from getam.label_numbers import label_dtype

Floats = npt.NDArray[np.float32]

STRIP = 2**22  # values of an enlarged map in memory at once: 16 MB


def resized_photo(photo: Image.Image, size: tuple[int, int]) -> Floats:
    """RGB photo → (3,h,w) float32 in 0–255, bilinear with antialiasing: torch's `interpolate(antialias=True)`.

    Pillow's bilinear filter is the same triangle, as wide as the photo is shrunk; on floating-point channels it does
    not round. Torch's agrees to 0.01 of 255 (tests/exported/test_arrays.py).

    >>> resized_photo(Image.new("RGB", (8, 4), (255, 0, 51)), (2, 3))[:, 0, 0].tolist()
    [255.0, 0.0, 51.0]
    """
    height, width = size
    channels = [
        channel.convert("F").resize((width, height), Image.Resampling.BILINEAR) for channel in photo.split()
    ]
    return np.stack([np.asarray(channel, np.float32) for channel in channels]).clip(0, 255)


def enlarged(values: Floats, size: tuple[int, int]) -> Floats:
    """(C,h,w) → (C,H,W), bilinear with pixel centres aligned and no antialiasing: torch's `align_corners=False`."""
    if values.shape[1:] == size:
        return values
    rows, columns = _between(values.shape[1], size[0]), _between(values.shape[2], size[1])
    return _lerp(_lerp(values, 1, *rows), 2, *columns)


def enlarged_labels(values: Floats, size: tuple[int, int]) -> LabelMap:
    """Arg-max over C of values (C,h,w), `enlarged` to (H,W) a strip at a time: uint8, uint16 beyond 254 classes."""
    return labels_of_bands([values], values.shape[1], size)


def labels_of_bands(bands: Iterable[Floats], height: int, size: tuple[int, int]) -> LabelMap:
    """`enlarged_labels` of values that come in bands (C,rows,w) from the top, `height` rows in all."""
    labels: LabelMap | None = None
    done = 0  # rows of the label map
    rows, begin, end = None, 0, 0  # values that are still needed, and which of all rows they are
    above, below, share = _between(height, size[0])
    for band in bands:
        rows = band if rows is None else np.concatenate([rows, band], axis=1)
        end += band.shape[1]
        if labels is None:
            labels = np.empty(size, label_dtype(len(band) - 1))
            columns = _between(band.shape[2], size[1])
            step = max(1, STRIP // (len(band) * size[1]))
        ready = int(np.searchsorted(below, end))
        for top in range(done, ready, step):
            strip = slice(top, min(top + step, ready))
            if (height, band.shape[2]) == size:
                values = rows[:, above[strip] - begin]
            else:
                part = _lerp(rows, 1, above[strip] - begin, below[strip] - begin, share[strip])
                values = _lerp(part, 2, *columns)
            labels[strip] = values.argmax(0)
        if ready < size[0]:
            rows, begin = rows[:, int(above[ready]) - begin :], int(above[ready])
        done = ready
    assert labels is not None
    return labels


def softmax(logits: Floats) -> Floats:
    """(C,h,w) → probabilities over C."""
    powers = np.exp(logits - logits.max(0))
    return powers / powers.sum(0)


def _between(length: int, wanted: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Floats]:
    """For each of `wanted` pixels along a side of `length`: its two neighbours there, and the share of the second."""
    place = ((np.arange(wanted) + 0.5) * (length / wanted) - 0.5).clip(0, length - 1)
    first = place.astype(np.intp)
    return first, np.minimum(first + 1, length - 1), (place - first).astype(np.float32)


def _lerp(
    values: Floats, axis: int, first: npt.NDArray[Any], second: npt.NDArray[Any], share: Floats
) -> Floats:
    shares = share.reshape([-1 if place == axis else 1 for place in range(values.ndim)])
    start = values.take(first, axis)
    return start + (values.take(second, axis) - start) * shares
