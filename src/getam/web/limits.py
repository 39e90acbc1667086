"""What an uploaded file may be: its bytes and pixels are counted before it is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from getam.data.photos import read_photo
from getam.errors import InputError

UPLOAD_MB = 50.0  # a 60-megapixel JPEG of a camera has about 30
MEGAPIXELS = 64.0  # a photo of that many takes 200 MB decoded, and its mask as much again while it is painted


@dataclass(frozen=True)
class Limits:
    """Of one file.

    Attributes:
        megabytes: of 10⁶ bytes.
        megapixels: of 10⁶ pixels.

    Raises:
        InputError: one is not positive.
    """

    megabytes: float = UPLOAD_MB
    megapixels: float = MEGAPIXELS

    def __post_init__(self) -> None:
        for option, number in (("--upload-mb", self.megabytes), ("--megapixels", self.megapixels)):
            if not number > 0:
                raise InputError(f"{option} {number:g} lets no photo in: give a positive number")

    @property
    def bytes(self) -> int:
        """Most bytes of a file."""
        return round(self.megabytes * 1e6)

    def read(self, path: Path, name: str) -> Image.Image:
        """The photo as `read_photo` gives it, refused before its pixels are decoded where it is too large.

        Args:
            path: of the file.
            name: what errors call it: people know the name they dropped, not where it was put.

        Raises:
            InputError: too many bytes or pixels, or no photo.
        """
        size = path.stat().st_size if path.is_file() else 0
        if size > self.bytes:
            raise InputError(
                f"{name} has {size / 1e6:.1f} MB and at most {self.megabytes:g} are taken: make it smaller, or start"
                " the app with a larger --upload-mb"
            )
        try:
            with Image.open(path) as image:
                width, height = image.size
        except Image.DecompressionBombError:
            raise InputError(self._too_large(name, "more pixels than Pillow opens")) from None
        except Exception:  # Pillow's plugins raise many types; which, `read_photo` puts in a sentence
            width, height = 0, 0
        if width * height > self.megapixels * 1e6:
            raise InputError(self._too_large(name, f"{width}×{height} pixels"))
        try:
            return read_photo(path)
        except InputError as error:
            raise InputError(str(error).replace(str(path), name)) from None

    def _too_large(self, name: str, what: str) -> str:
        return (
            f"{name} has {what} and at most {self.megapixels:g} million are taken: make it smaller, or start the app"
            " with a larger --megapixels"
        )
