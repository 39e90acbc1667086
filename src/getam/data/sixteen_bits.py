"""Files of 16 bits a channel, grey or colour: which bits are in use, and 8 bits of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

FULL = 16  # bits of a 16-bit file
_BITS, _SAMPLES, _PLANES = 258, 277, 284  # TIFF 6.0, section 8
_OTHER_END = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}


def bits_in_use(largest: int) -> int:
    """8 to 16: how many bits a photo of a 16-bit file has, by its largest value.

    Scanners and microscopes write 8, 10, 12 or 14 bits into 16-bit files, and the file does not say so: as parts of
    65,535 their photos would be black. A photo that uses the upper half of the range has all 16.

    >>> [bits_in_use(largest) for largest in (1, 255, 256, 4095, 32768, 65535)]
    [8, 8, 9, 12, 16, 16]
    """
    return max(8, largest.bit_length())


def in_eight_bits(values: NDArray[np.signedinteger[Any]], bits: int | None = None) -> NDArray[np.uint8]:
    """Values of 0–65535, any shape, as 0–255 of the range of `bits`, of those that are in use if None."""
    largest = (1 << (bits or bits_in_use(int(values.max())))) - 1
    return ((values * 255 + largest // 2) // largest).astype(np.uint8)


def is_wide(image: Image.Image) -> bool:
    """Whether an opened file, not read yet, holds RGB of 16 bits, of which Pillow gives the upper 8 alone."""
    return (
        image.mode == "RGB"
        and isinstance(image, ImageFile)
        and any(";16" in _layout(tile.args) for tile in image.tile)
    )


def in_planes(image: Image.Image) -> bool:
    """Whether a TIFF keeps its channels of 16 bits apart, one after the other: Pillow reads noise, without a word."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(_PLANES) == 2 and tags.get(_SAMPLES, 1) > 1 and FULL in tags.get(_BITS, ())


def bits_of_wide(upper: Image.Image, file: Path | str | IO[bytes]) -> Image.Image:
    """A photo that `is_wide`, `upper` as Pillow read it, in the range of the bits that are in use.

    Where they are all 16 it is `upper`. Else that is dark, of 12 bits it has 16 levels, and the lower bytes are read as
    well: as the upper ones, of a file that is said to have its bytes in the other order. Raises what Pillow raises.
    """
    high = np.asarray(upper)
    if bits_in_use(int(high.max()) << 8) == FULL:
        return upper
    with Image.open(file) as image:
        assert isinstance(image, ImageFile)
        image.tile = [tile._replace(args=_swapped(tile.args)) for tile in image.tile]
        low = np.asarray(image)
    return Image.fromarray(in_eight_bits((high.astype(np.int32) << 8) + low))


def _layout(arguments: tuple[object, ...] | str | None) -> str:
    """How a decoder's arguments call the order of bytes, such as RGB;16B."""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _swapped(arguments: tuple[object, ...] | str | None) -> tuple[object, ...] | str:
    layout = _layout(arguments)
    other = layout[:-1] + _OTHER_END[layout[-1]]
    return (other, *arguments[1:]) if isinstance(arguments, tuple) else other
