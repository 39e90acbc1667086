"""Damaged copies of good files: bytes changed, cut out, put in, doubled, and taken from another file."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

WORDS = (
    b"\x00", b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\xef\xbb\xbf", b"\xff\xfe",
    b"-1", b"0", b"1e999", b"NaN", b"99999999999999999999", b"null", b"true",
    b"[", b"{", b"]", b"}", b'"', b",", b";", b":", b"\n", b"\r", b"\t", b"\\u0000", b"<", b">", b"*a", b"&a", b"&x;",
    b"../", b"/etc/passwd", b"!!python/object/apply:os.system ['exit 9']", b"\xf0\x9f\x90\x88",
    b"[" * 2000, b'{"a":' * 2000,
)  # fmt: skip
"""What trips readers: numbers at the edges of their types, what opens and closes in texts, ways out of a folder."""


def _change(data: bytearray, draw: random.Random) -> None:
    for _ in range(draw.choice((1, 1, 2, 8, 32))):
        data[draw.randrange(len(data))] = draw.randrange(256)


def _flip(data: bytearray, draw: random.Random) -> None:
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _cut(data: bytearray, draw: random.Random) -> None:
    begin = draw.randrange(len(data))
    del data[begin : begin + draw.choice((1, 2, 4, 16, 256))]


def _end(data: bytearray, draw: random.Random) -> None:
    del data[draw.randrange(len(data)) :]


def _put(data: bytearray, draw: random.Random) -> None:
    place = draw.randrange(len(data) + 1)
    data[place:place] = draw.choice(WORDS)


def _over(data: bytearray, draw: random.Random) -> None:
    place, word = draw.randrange(len(data)), draw.choice(WORDS)
    data[place : place + len(word)] = word


def _again(data: bytearray, draw: random.Random) -> None:
    begin = draw.randrange(len(data))
    part = data[begin : begin + draw.choice((1, 8, 64, 512))]
    data[begin:begin] = part * draw.choice((1, 2, 50))


WAYS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _change,
    _flip,
    _cut,
    _end,
    _put,
    _over,
    _again,
)


def damaged(seeds: Sequence[bytes], draw: random.Random) -> bytes:
    """One of the files after one to four changes, sometimes with the end of another."""
    data = bytearray(draw.choice(seeds))
    if draw.random() < 0.1:
        other = draw.choice(seeds)
        data = data[: draw.randrange(len(data) + 1)] + other[draw.randrange(len(other) + 1) :]
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        if data:
            draw.choice(WAYS)(data, draw)
    return bytes(data)
