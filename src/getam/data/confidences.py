"""How sure a network was of each class it painted, kept inside the mask's PNG, so that the two stay together."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

KEY = "getam:confidence"
"""Keyword of the PNG's text chunk; viewers pass it over."""

_HEADER = 8 + 25  # signature and IHDR: PNG specification, sections 5.2 and 11.2.2


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
