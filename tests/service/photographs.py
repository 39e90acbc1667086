"""Files for the tests of the service: photos, and what is sent by those who mean no good."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def picture(height: int = 40, width: int = 48, seed: int = 0) -> Image.Image:
    """Smooth colours, so that JPEG keeps them."""
    small = np.random.default_rng(seed).integers(0, 255, (4, 5, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def photo(form: str = "PNG", height: int = 40, width: int = 48, seed: int = 0) -> bytes:
    return encoded(picture(height, width, seed), form)


def chunk(kind: bytes, data: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_claiming(width: int, height: int, pixels: bytes = b"") -> bytes:
    """A PNG of that size by its header; its pixels are what zlib makes of `pixels`."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(pixels, 9))
        + chunk(b"IEND", b"")
    )


def webp_claiming(width: int, height: int) -> bytes:
    """An extended WebP whose canvas is that large, around a small photo."""
    inner = photo("WEBP")[12:]
    canvas = b"VP8X" + struct.pack("<IB3x", 10, 0)
    canvas += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 4 + len(canvas) + len(inner)) + b"WEBP" + canvas + inner


def jpeg_claiming(width: int, height: int) -> bytes:
    """A small JPEG with another size in its frame header."""
    content = bytearray(photo("JPEG"))
    place = next(i for i in range(len(content)) if content[i : i + 2] in (b"\xff\xc0", b"\xff\xc2"))
    content[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def gif_claiming(width: int, height: int) -> bytes:
    content = bytearray(photo("GIF"))
    content[6:10] = struct.pack("<HH", width, height)
    return bytes(content)


def bmp_claiming(width: int, height: int) -> bytes:
    content = bytearray(photo("BMP"))
    content[18:26] = struct.pack("<ii", width, height)
    return bytes(content)


def tiff_claiming(width: int, height: int) -> bytes:
    content = bytearray(photo("TIFF"))
    entry = struct.unpack_from("<I", content, 4)[0] + 2
    for tag, value in ((256, width), (257, height)):
        place = next(
            i for i in range(entry, entry + 12 * 20, 12) if struct.unpack_from("<H", content, i)[0] == tag
        )
        struct.pack_into("<HHII", content, place, tag, 4, 1, value)
    return bytes(content)


CLAIMING = {
    "PNG": png_claiming, "WEBP": webp_claiming, "JPEG": jpeg_claiming, "GIF": gif_claiming, "BMP": bmp_claiming,
    "TIFF": tiff_claiming,
}  # fmt: skip


def many_scans(scans: int = 200) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    content = encoded(picture(), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * scans + b"\xff\xd9"
