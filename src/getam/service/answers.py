"""What the service answers with: a mask as palette PNG, COCO's run lengths or JSON; a map as PNG or NPZ."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np

from getam.data.confidences import with_confidences
from getam.data.mask_formats.base import PhotoMask
from getam.data.mask_formats.coco import annotated
from getam.data.masks import encode_mask
from getam.report.photo_maps import PhotoMaps
from getam.service.network import Mask

PNG, JSON, NPZ = "image/png", "application/json", "application/x-npz"


class MaskFormat(StrEnum):
    """Of /segment."""

    PNG = "png"
    RLE = "rle"
    JSON = "json"


class MapFormat(StrEnum):
    """Of /explain."""

    PNG = "png"
    NPZ = "npz"


def mask_png(mask: Mask) -> bytes:
    """The file that `getam predict` writes: a palette PNG of labels, the confidences in a text chunk."""
    return with_confidences(encode_mask(mask.label), mask.confidences)


def mask_rle(mask: Mask, classes: Sequence[str]) -> dict[str, Any]:
    """COCO's JSON of annotations, a region of each class as compressed run lengths; the photo is called `photo`."""
    one = PhotoMask("photo", mask.label.astype(np.uint16), "photo", confidences=mask.confidences)
    return annotated(classes, [one])


def mask_json(mask: Mask, classes: Sequence[str]) -> dict[str, Any]:
    """Height, width, what was found, and the palette PNG in base64.

    A class has its name, its label in the PNG, its pixels, their mean probability, and the box around them as x, y,
    width, height.
    """
    found = []
    for number in np.unique(mask.label[mask.label > 0]).tolist():
        rows, columns = (np.flatnonzero((mask.label == number).any(axis)) for axis in (1, 0))
        box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        name = classes[number - 1]
        found.append({
            "name": name,
            "label": number,
            "pixels": int((mask.label == number).sum()),
            "confidence": round(mask.confidences[name], 4) if name in mask.confidences else None,
            "box": [int(side) for side in box],
        })  # fmt: skip
    height, width = mask.label.shape
    picture = base64.b64encode(encode_mask(mask.label)).decode()
    return {"height": height, "width": width, "classes": found, "png": picture}


def map_png(maps: PhotoMaps, *, refine: bool) -> bytes:
    """The map of the first class over the photo."""
    encoded = io.BytesIO()
    maps.overlay(refine=refine).save(encoded, "PNG")
    return encoded.getvalue()
