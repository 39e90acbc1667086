"""Label Studio's run lengths of brush strokes: a string of bits that packs the RGBA values of an image.

The form is that of the package rle-pack of thi.ng/umbrella: 32 bits number of values, 5 bits word size − 1, four times
4 bits the width of a count − 1; then packets: 1 bit whether one value is repeated, 2 bits which width its count has,
the count − 1, the value or the values. A mask is in the alpha values; we repeat it in all four, as Label Studio's own
converter does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from getam.data.mask_formats.base import Flags
from getam.data.mask_formats.runs import run_lengths

CHANNELS = 4
WORD = 8
WIDTHS = (3, 4, 8, 16)
"""Bits of a count, as Label Studio writes them."""


def encode_brush(flags: Flags) -> list[int]:
    """(H,W) bool → the bytes Label Studio keeps as `rle`.

    >>> encode_brush(np.ones((1, 2), bool))
    [0, 0, 0, 8, 57, 27, 252, 255, 224]
    """
    bits = [f"{flags.size * CHANNELS:032b}{WORD - 1:05b}", *(f"{width - 1:04b}" for width in WIDTHS)]
    for place, run in enumerate(run_lengths(flags.ravel())):
        value = "1" * WORD if place % 2 else "0" * WORD
        left = run * CHANNELS
        while left > 0:
            length = min(left, 2 ** WIDTHS[-1])
            choice = next(number for number, width in enumerate(WIDTHS) if length <= 2**width)
            bits.append(f"1{choice:02b}{length - 1:0{WIDTHS[choice]}b}{value}")
            left -= length
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def decode_brush(rle: Sequence[int], size: tuple[int, int]) -> Flags:
    """The bytes of an `rle` → (H,W) bool: where alpha is at least half.

    Raises `ValueError` for bytes that end too soon, or are of an image of another size.
    """
    data = bytes(rle)
    text = f"{int.from_bytes(data, 'big'):0{len(data) * 8}b}" if data else ""
    place = 0

    def take(width: int) -> int:
        nonlocal place
        place += width
        return int(text[place - width : place], 2)  # ValueError at the end

    total, word = take(32), take(5) + 1
    widths = [take(4) + 1 for _ in range(4)]
    if total != size[0] * size[1] * CHANNELS:
        raise ValueError(
            f"run lengths of {total} values where {size[1]}×{size[0]} pixels have {CHANNELS} each"
        )
    values: npt.NDArray[np.uint32] = np.zeros(total, np.uint32)
    done = 0
    while done < total:
        repeated = take(1)
        until = done + 1 + take(widths[take(2)])
        if repeated:
            values[done:until] = take(word)
        else:
            values[done:until] = [take(word) for _ in range(until - done)][: total - done]
        if place > len(text):
            raise ValueError("run lengths end too soon")
        done = until
    return values.reshape(*size, CHANNELS)[..., -1] >= 2 ** (word - 1)
