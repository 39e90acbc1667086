"""Grey maps of photos on disk, made once: one 8-bit PNG per photo, filed under what made it and what it shows."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from getam.data.fingerprint import file_hash
from getam.errors import InputError
from getam.whole_files import write_atomically

CACHE_VARIABLE = "GETAM_CACHE"
KEY_DIGITS = 12


class MapCache:
    """The maps of one maker: `folder/<maker>-<key of its weights and settings>/<key of a photo's file>.png`.

    A photo that changes, other weights or other settings have another name, so maps are never mixed up, and nothing
    needs to be checked. Files appear whole or not at all: an interrupted run goes on where it was, and two runs at
    once do no harm. Nothing is ever deleted; the folder may be, at any time.

    Args:
        maker: short name.
        settings: everything that decides what the maps look like, weights' hashes among them.
        folder: default `cache_folder()`.

    Raises:
        InputError: the folder cannot be made.
    """

    def __init__(self, maker: str, settings: str, folder: Path | None = None) -> None:
        key = hashlib.sha256(settings.encode()).hexdigest()[:KEY_DIGITS]
        self.path = (cache_folder() if folder is None else folder) / f"{maker}-{key}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cache folder {self.path} cannot be made ({error.strerror}): name one with the environment variable "
                f"{CACHE_VARIABLE}"
            ) from None

    def file(self, photo: Path) -> Path:
        """Where the map of a photo is, or will be. Reads the photo's file."""
        return self.path / f"{file_hash(photo)}.png"


def cache_folder() -> Path:
    """`$GETAM_CACHE`, else `getam` in `$XDG_CACHE_HOME`, else in `~/.cache`."""
    if own := os.environ.get(CACHE_VARIABLE):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "getam"


def write_grey(path: Path, values: npt.NDArray[np.float32]) -> None:
    """Write a map (H,W) in [0,1] as an 8-bit grey PNG, rounded; the file appears whole or not at all.

    Raises:
        InputError: another shape, or values outside [0,1].
    """
    write_atomically(path, encode_grey(values))


def encode_grey(values: npt.NDArray[np.float32]) -> bytes:
    """The 8-bit grey PNG of a map (H,W) in [0,1]; raises as `write_grey`."""
    encoded = io.BytesIO()
    Image.fromarray(grey(values)).save(encoded, format="PNG")
    return encoded.getvalue()


def grey(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """(H,W) uint8 of a map (H,W) in [0,1], rounded, as its PNG holds it; raises as `write_grey`.

    >>> grey(np.array([[0, 0.5, 1]], np.float32))
    array([[  0, 128, 255]], dtype=uint8)
    """
    if values.ndim != 2 or values.size == 0 or not (values.min() >= 0 and values.max() <= 1):
        raise InputError(f"a map is (H,W) in [0,1], but one was to be written from {values.shape} values")
    return (values * 255 + 0.5).astype(np.uint8)
