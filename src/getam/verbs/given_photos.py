"""Photos as people hold them in Python: paths, PIL photos, arrays, one or several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from getam.data.photos import as_tensor, read_photo
from getam.errors import InputError
from getam.report.overlay import Photo
from getam.report.photo_maps import photo_tensor

OnePhoto = Image.Image | Path | str | Photo


def are_several(photos: object) -> bool:
    """Whether these are photos, in a list or an array (B,H,W,3), and not one."""
    if isinstance(photos, np.ndarray):
        return photos.ndim == 4
    return isinstance(photos, Sequence) and not isinstance(photos, str)


def read_given(photos: Any, *, several: bool) -> list[tuple[Tensor, str]]:
    """(3,H,W) uint8 of each photo, and what its file is called, without suffix: "photo" where there is none.

    Raises:
        InputError: there is none, one cannot be read, or is something else.
    """
    given = list(photos) if several else [photos]
    if not given:
        raise InputError("there is no photo: give at least one")
    return [_read(photo, f"number {number}" if several else "given") for number, photo in enumerate(given)]


def _read(photo: object, name: str) -> tuple[Tensor, str]:
    """`name` is for errors."""
    if isinstance(photo, (str, Path)):
        return as_tensor(read_photo(photo)), Path(photo).stem
    file = getattr(photo, "filename", "")  # of photos that Pillow opened
    return photo_tensor(photo, name), Path(file).stem or "photo"
