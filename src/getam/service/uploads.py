"""Photos that strangers send: refused by their bytes, their format and their header before a pixel is decoded."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from getam.data.photos import decode_near
from getam.errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Pillow's names of what is taken: what cameras, browsers and microscopes write. Its other readers never run."""

MEDIA_TYPES = ("image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/tiff")

LONGEST = 65_535
"""Pixels a side: JPEG's own limit. Memory grows with a row's length where masks are enlarged row by row."""

SCANS = 64
"""Of a progressive JPEG: encoders write about ten, and each costs as much as decoding the whole photo."""

_CANVAS = struct.Struct("<4x3s3s")  # of a WebP's VP8X chunk: flags, width − 1, height − 1
_SCAN = b"\xff\xda"


class RefusedError(Exception):
    """An upload that is not taken.

    Attributes:
        status: HTTP's number for why: 413, 415 or 422.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """What an upload may be.

    Attributes:
        megabytes: of the request's body, in millions of bytes.
        megapixels: of the photo, in millions, whatever its bytes are.
    """

    megabytes: float = 20
    megapixels: float = 50

    @property
    def bytes(self) -> int:
        return int(self.megabytes * 1e6)

    @property
    def pixels(self) -> int:
        return int(self.megapixels * 1e6)


def check_upload(content: bytes, limits: Limits) -> tuple[int, int]:
    """(width, height) of a photo by its header, without decoding it.

    Raises:
        RefusedError: 413 more bytes or pixels than the limits or a side longer than `LONGEST`; 415 no photo, or of a
            format that is not taken; 422 nothing at all, or a damaged header.
    """
    if not content:
        raise RefusedError(
            422, "the photo is empty (0 bytes): send its bytes as the body, or as the part `photo`"
        )
    if len(content) > limits.bytes:
        raise RefusedError(
            413, f"the photo has {len(content)} bytes, more than {limits.bytes}: make it smaller"
        )
    if canvas := _webp_canvas(content):
        _check_pixels(*canvas, limits)  # before Pillow opens it, which makes room for the canvas
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
    except Image.DecompressionBombError:
        raise _too_many_pixels(limits) from None
    except UnidentifiedImageError:
        raise RefusedError(
            415, f"this is no photo of a format that is taken: {', '.join(FORMATS)}; convert it to one"
        ) from None
    except (
        Exception
    ) as error:  # Pillow's plugins raise OSError, SyntaxError, struct.error, … on broken headers
        raise RefusedError(
            422, f"the photo's header cannot be read ({_short(error)}): send it again"
        ) from None
    _check_pixels(width, height, limits)
    if content[:2] == b"\xff\xd8" and content.count(_SCAN) > SCANS:
        raise RefusedError(422, f"the JPEG has more than {SCANS} scans: save it again as a usual one")
    return width, height


def decode_upload(
    content: bytes, limits: Limits, long_side: int | None
) -> tuple[Image.Image, tuple[int, int]]:
    """An upload as `getam predict` reads photos of the folder: RGB and upright, and the (height, width) it has in full.

    Args:
        content: of the file.
        limits: what is refused.
        long_side: a JPEG may come back smaller, though not below this; None: at full size.

    Raises:
        RefusedError: as `check_upload`, or 422 where the pixels are damaged.
    """
    check_upload(content, limits)
    try:
        return decode_near(content, "sent", long_side, FORMATS)
    except InputError as error:
        raise RefusedError(422, str(error)) from None
    except MemoryError:
        raise RefusedError(413, "there is not enough memory to decode the photo: make it smaller") from None


def _check_pixels(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.pixels:
        raise _too_many_pixels(limits, f"{width}×{height} pixels")
    if max(width, height) > LONGEST:
        raise RefusedError(
            413, f"the photo is {width}×{height}, a side longer than {LONGEST}: cut it into parts"
        )


def _too_many_pixels(limits: Limits, found: str = "too many pixels") -> RefusedError:
    return RefusedError(
        413, f"the photo has {found}, more than {limits.megapixels:g} million are not taken: make it smaller"
    )


def _webp_canvas(content: bytes) -> tuple[int, int] | None:
    """(width, height) that an extended WebP claims; None for all else."""
    if content[:4] != b"RIFF" or content[8:16] != b"WEBPVP8X" or len(content) < 30:
        return None
    width, height = (int.from_bytes(side, "little") + 1 for side in _CANVAS.unpack(content[20:30]))
    return width, height


def _short(error: Exception) -> str:
    return f"{error}".strip().rstrip(".")[:120] or type(error).__name__
