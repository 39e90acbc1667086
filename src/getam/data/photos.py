"""Reading photos as a viewer shows them: upright, 8-bit RGB, whatever the file holds; built on Pillow."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from PIL import Image, ImageSequence

from getam.data import tars
from getam.data.photo_folder import PHOTO_SUFFIXES, RAW_SUFFIXES, UNREAD_SUFFIXES, conversion
from getam.data.sixteen_bits import FULL, bits_of_wide, in_eight_bits, in_planes, is_wide
from getam.errors import InputError

if TYPE_CHECKING:
    import torch

MAX_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 89_478_485)
"""Pillow's own limit, 179 million: what claims to be larger is taken for a file made to fill the memory."""

_ORIENTATION_TAG = 0x0112  # EXIF 2.32, section 4.6.4 A
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WIDE_INTEGERS = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def read_photo(path: Path | str) -> Image.Image:
    """The photo at its displayed size, mode RGB.

    The EXIF orientation is applied; CMYK, grey, palette and 16-bit files are converted, of 16 bits the range of the
    bits that are in use (`bits_in_use`) to 0–255; transparent ones are laid on white; of an animation the first frame
    is taken. Raises `InputError` when the file is missing, truncated, no photo, or has more than `MAX_PIXELS` pixels.
    """
    return _decode(Path(path), long_side=None)[0]


def read_grey(path: Path | str) -> Image.Image:
    """A map of numbers, such as saliency, mode L: as `read_photo`, but of 16 bits always the full range 0–65535."""
    return _decode(Path(path), long_side=None, bits=FULL)[0].convert("L")


def read_photo_near(
    path: Path | str, long_side: int | Callable[[int], int]
) -> tuple[Image.Image, tuple[int, int]]:
    """As `read_photo`, but a JPEG may come back smaller, though its long side not below `long_side`.

    That may also be a function of the long side that the photo has. Returns the photo and the (height, width) it has at
    full size. JPEG decoders can scale by 1/2, 1/4 and 1/8 while they decode, which makes large photos several times
    faster to read.
    """
    return _decode(Path(path), long_side)


def decode_near(
    content: bytes, name: str, long_side: int | None, formats: tuple[str, ...] | None = None
) -> tuple[Image.Image, tuple[int, int]]:
    """As `read_photo_near` (or, without a long side, `read_photo`), of a file's content, in one of Pillow's `formats`.

    Raises `InputError`, which calls the photo `name`.
    """
    return _decoded(io.BytesIO(_some(content, name)), name, long_side, formats=formats)


def decode_grey(content: bytes, name: str) -> Image.Image:
    """As `read_grey`, of a file's content; raises `InputError`, which calls it `name`."""
    return _decoded(io.BytesIO(_some(content, name)), name, None, FULL)[0].convert("L")


def _some(content: bytes, name: str) -> bytes:
    if not content:
        raise _empty(name)
    return content


def _empty(name: Path | str) -> InputError:
    return InputError(f"photo {name} is empty (0 bytes): copy it again or remove it.")


def _unread(path: Path | str) -> InputError:
    suffix = Path(path).suffix.lower()
    return InputError(f"photo {path} cannot be read: nothing here reads {suffix}; {conversion(suffix)}")


def pages(path: Path | str) -> int:
    """How many pictures a TIFF holds, of which `read_photo` takes the first: a stack of a microscope has many.

    Smaller ones, such as previews, do not count. 1 for files of other kinds. Raises `InputError` as `read_photo`.
    """
    try:
        with Image.open(_file(path)) as image:
            if image.format != "TIFF":
                return 1
            size = image.size
            return sum(page.size == size for page in ImageSequence.Iterator(image))
    except Exception as error:  # as in `_decoded`
        raise InputError(
            f"photo {path} cannot be read ({error}): the file is truncated or damaged"
        ) from error


def turned_file(path: Path | str) -> tuple[bytes, str] | None:
    """The file of a photo that its EXIF orientation turns, written anew upright, and its suffix; None for all others.

    JPEGs are encoded anew (quality 95, full colour resolution), others without loss. Raises `InputError` as
    `read_photo`.
    """
    photo = read_photo(path)
    with Image.open(_file(path)) as image:
        if _orientation(image) == 1:
            return None
        form = image.format if image.format in ("PNG", "TIFF", "WEBP") else "JPEG"
        profile = (
            image.info.get("icc_profile") if image.mode == "RGB" else None
        )  # of the colours that were kept
    encoded = io.BytesIO()
    options = (
        {"quality": 95, "subsampling": 0} if form == "JPEG" else {"lossless": True} if form == "WEBP" else {}
    )
    photo.save(encoded, form, icc_profile=profile, **options)
    return encoded.getvalue(), {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "WEBP": ".webp"}[form]


def suffix_of(path: Path | str) -> str:
    """The suffix that a photo should have: its own where that is one of a photo, else by what it holds.

    Raises `InputError` for a file that is no photo.
    """
    if Path(path).suffix.lower() in PHOTO_SUFFIXES:
        return Path(path).suffix
    try:
        with Image.open(_file(path)) as image:
            form = str(image.format)
    except OSError as error:
        raise InputError(f"photo {path} is no photo: remove it.") from error
    form = "JPEG" if form == "MPO" else form
    fitting = (
        s for s, known in Image.registered_extensions().items() if known == form and s in PHOTO_SUFFIXES
    )
    return min(fitting, key=PHOTO_SUFFIXES.index, default=".png")


def upright(image: Image.Image, name: str) -> Image.Image:
    """A photo that Pillow has opened, as `read_photo` gives those of files: displayed size, mode RGB.

    Raises `InputError`, which calls it `name`, where `read_photo` would.
    """
    try:
        turn, photo = _load(image, getattr(image, "filename", None) or getattr(image, "fp", None), name)
    except OSError as error:
        raise InputError(
            f"photo {name} cannot be read ({error}): its file is truncated or damaged"
        ) from error
    return photo.transpose(_UPRIGHT[turn]) if turn in _UPRIGHT else photo


def as_tensor(image: Image.Image) -> torch.Tensor:
    """(3, H, W) uint8 of an RGB photo; a view with channels last in memory, which torch resizes fastest.

    >>> as_tensor(Image.new("RGB", (4, 2), (255, 0, 7)))[:, 0, 0]
    tensor([255,   0,   7], dtype=torch.uint8)
    """
    import torch  # here, for photos are read where there is none too

    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def _decode(
    path: Path, long_side: int | Callable[[int], int] | None, bits: int | None = None
) -> tuple[Image.Image, tuple[int, int]]:
    if not tars.is_file(path):
        raise InputError(f"photo {path} does not exist or is no file: check the path.")
    file = _file(path)
    if (os.path.getsize(file) if isinstance(file, Path) else len(file.getbuffer())) == 0:
        raise _empty(path)
    return _decoded(file, path, long_side, bits)


def _file(path: Path | str) -> Path | io.BytesIO:
    """What Pillow opens: the file, or its content where it lies in a tar."""
    return Path(path) if tars.within(Path(path)) is None else io.BytesIO(tars.open_file(Path(path)).read())


def _decoded(
    file: Path | io.BytesIO,
    path: Path | str,
    long_side: int | Callable[[int], int] | None,
    bits: int | None = None,
    formats: tuple[str, ...] | None = None,
) -> tuple[Image.Image, tuple[int, int]]:
    if Path(path).suffix.lower() in RAW_SUFFIXES:
        raise _unread(path)
    try:
        with Image.open(file, formats=formats) as image:
            width, height = image.size
            if long_side is not None and max(width, height) > 0:
                wanted = long_side(max(width, height)) if callable(long_side) else long_side
                scale = wanted / max(width, height)
                image.draft(None, (max(1, round(width * scale)), max(1, round(height * scale))))
            turn, photo = _load(image, file, path, bits)
    except (InputError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise InputError(
            f"photo {path} cannot be read: it has more than {MAX_PIXELS / 1e6:.0f} million pixels, as a decompression"
            " bomb does; make it smaller first, or remove it."
        ) from None
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, struct.error, … on broken files
        if Path(path).suffix.lower() in UNREAD_SUFFIXES:
            raise _unread(path) from error
        reason = f"{error}".strip().rstrip(".") or type(error).__name__
        raise InputError(
            f"photo {path} cannot be read ({_without_path(reason, path)}): the file is truncated, damaged or no photo; "
            "copy it again, convert it to JPEG or PNG, or remove it."
        ) from error
    if turn in _UPRIGHT:
        photo = photo.transpose(_UPRIGHT[turn])
    return photo, ((width, height) if turn >= 5 else (height, width))


def _load(
    image: Image.Image, file: Path | str | IO[bytes] | None, path: Path | str, bits: int | None = None
) -> tuple[int, Image.Image]:
    """Orientation and RGB of what Pillow has opened; `file`, what it was opened of, is read once more if need be."""
    if in_planes(image):
        raise InputError(
            f"photo {path} is a TIFF of 16 bits that keeps its channels apart (planar), which is not read: save it "
            "interleaved, or as PNG."
        )
    again = file if bits is None and is_wide(image) else None
    image.load()  # before the orientation: a PNG may carry its EXIF after the pixels
    turn, photo = _orientation(image), _as_rgb(image, path, bits)
    return turn, photo if again is None else bits_of_wide(photo, again)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1–8. Unreadable EXIF counts as upright, as viewers do: its pixels are intact."""
    try:
        turn = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1


def _as_rgb(image: Image.Image, path: Path | str, bits: int | None = None) -> Image.Image:
    """RGB of a photo as Pillow reads it; `bits` of a 16-bit grey one, those in use if None."""
    if image.mode in _WIDE_INTEGERS:  # Pillow's own conversion clips at 255 instead of scaling
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise InputError(
                f"photo {path} has values from {values.min()} to {values.max()}, more than 16 bits: convert it to 8 "
                "bits per channel first."
            )
        return Image.fromarray(in_eight_bits(values, bits)).convert("RGB")
    if image.mode == "F":
        raise InputError(
            f"photo {path} holds floating-point values of unknown range: convert it to 8 bits per channel first."
        )
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        white = Image.new("RGBA", colours.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, colours).convert("RGB")
    return image.convert("RGB")


def _without_path(reason: str, path: Path | str) -> str:
    """Pillow repeats the path in some messages; ours has it already. Content in memory it calls by its address."""
    reason = re.sub(r" <_io\.BytesIO object at 0x[0-9a-fA-F]+>", "", reason)
    return reason.replace(f" {str(path)!r}", "").replace(f" '{path}'", "")
