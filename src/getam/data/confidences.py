"""How sure a network or label rule was of each class it painted, kept inside the mask's PNG: the two stay together."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

KEY = "getam:confidence"
"""Keyword of the PNG's text chunk; viewers pass it over."""

_HEADER = 8 + 25  # signature and IHDR: PNG specification, sections 5.2 and 11.2.2


def confidences(beliefs: npt.ArrayLike, winner: npt.ArrayLike, classes: Sequence[str]) -> dict[str, float]:
    """Mean probability of each class over its pixels: class name → number in [0,1].

    The probabilities are those before a CRF, after which all are near 1: the network's own in `predict`, the shares of
    the maps (`getam.labels.confidence`) in `label`.

    Args:
        beliefs: (C+1,h,w), probabilities of background and the C classes; arrays, or tensors on the CPU.
        winner: (h,w), what each pixel is in the end: 0 background, class index + 1, below 0 undecided.
        classes: their names, without background; those without a pixel are left out.

    >>> confidences([[[0.25, 0.5]], [[0.75, 0.5]]], [[1, 1]], ["cat"])
    {'cat': 0.625}
    """
    mean = MeanConfidences(classes)
    mean.add(beliefs, winner)
    return mean.named()


class MeanConfidences:
    """`confidences` of a photo that is decided part by part.

    Args:
        classes: their names, without background.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        self._sums: dict[int, float] = {}
        self._pixels: dict[int, int] = {}

    def add(self, beliefs: npt.ArrayLike, winner: npt.ArrayLike) -> None:
        """Probabilities (C+1,h,w) of a part, and what its pixels (h,w) are in the end."""
        found, label = np.asarray(beliefs), np.asarray(winner)
        for number in np.flatnonzero(np.bincount(label[label > 0].astype(np.int64))).tolist():
            its = found[number][label == number]
            self._sums[number] = self._sums.get(number, 0.0) + float(its.sum(dtype=np.float64))
            self._pixels[number] = self._pixels.get(number, 0) + its.size

    def named(self) -> dict[str, float]:
        """Class name → mean probability of its pixels, in the order of the classes; of those with a pixel."""
        return {
            self._classes[number - 1]: self._sums[number] / self._pixels[number]
            for number in sorted(self._sums)
        }


def with_confidences(png: bytes, confidences: Mapping[str, float]) -> bytes:
    """The same PNG with class name → mean probability of its pixels, in [0,1], as a tEXt chunk of ASCII JSON.

    >>> import io
    >>> from getam.data.masks import encode_mask
    >>> import numpy as np
    >>> png = with_confidences(encode_mask(np.ones((1, 1), np.uint8)), {"cat": 0.91})
    >>> Image.open(io.BytesIO(png)).text
    {'getam:confidence': '{"cat": 0.91}'}
    """
    if not confidences:
        return png
    rounded = {name: round(value, 4) for name, value in confidences.items()}
    text = b"tEXt" + KEY.encode() + b"\0" + json.dumps(rounded).encode()
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return png[:_HEADER] + chunk + png[_HEADER:]


def read_confidences(path: Path) -> dict[str, float]:
    """What `with_confidences` has put into a mask; empty where a mask has none, or somebody else's text."""
    with Image.open(path) as image:
        text = getattr(image, "text", {}).get(KEY, "{}")
    try:
        found = json.loads(text)
        return {str(name): float(value) for name, value in found.items()}
    except (ValueError, TypeError, AttributeError):
        return {}
