"""Malformed, huge and hostile uploads: a 4xx each with a sentence, nothing else, and nothing left on disk."""

from __future__ import annotations

import asyncio
import os
import random
import struct
import tempfile
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import photographs
import pytest
from photographs import CLAIMING, FORMATS, chunk, encoded, photo, picture
from PIL import Image

from getam.service.app import Service, create_app
from getam.service.network import Mask
from getam.service.uploads import Limits, decode_upload

Request = dict[str, Any]
LIMITS = Limits(0.1, 0.5)


class Decoding:
    """Stands for the network: decodes uploads as it does, and makes a mask of zeros."""

    classes = ("cat",)
    limits = LIMITS
    weights_sha256 = ""

    def prepare(self, content: bytes, tags: Any = None) -> Any:
        return decode_upload(content, self.limits, 1000)[1]

    def prepare_whole(self, content: bytes) -> Any:
        return decode_upload(content, self.limits, None)[1]

    def key(self, size: Any) -> Any:
        return size

    def masks(self, batch: Any) -> list[Mask]:
        return [Mask(np.zeros(size, np.uint8), {}) for size in batch]


PHOTOS = {form: photo(form, 60, 60) for form in FORMATS}


def claims_too_much(rng: random.Random) -> Request:
    width, height = rng.choice(
        [(65_000, 65_000), (30_000, 30_000), (1_000, 501), (8, 65_000), (16_383, 16_383)]
    )
    return {"content": CLAIMING[rng.choice(list(CLAIMING))](width, height)}


def unpacks_to_much_more(rng: random.Random) -> Request:
    """A PNG that is honest about its size, and small."""
    side = rng.randint(800, 5000)
    return {"content": photographs.png_claiming(side, side, bytes(side * (3 * side + 1)))}


def text_that_unpacks(rng: random.Random) -> Request:
    text = chunk(rng.choice([b"zTXt", b"iTXt"]), b"a\0\1\0\0\0" + zlib.compress(bytes(20_000_000), 9))
    if text[4:8] == b"zTXt":
        text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(20_000_000), 9))
    return {"content": PHOTOS["PNG"][:33] + text + PHOTOS["PNG"][33:]}


def cut_off(rng: random.Random) -> Request:
    content = PHOTOS[rng.choice(FORMATS)]
    return {"content": content[: rng.randint(1, int(len(content) * 0.7))]}


def noise(rng: random.Random) -> Request:
    return {"content": rng.randbytes(rng.randint(1, 5000))}


def noise_behind_a_signature(rng: random.Random) -> Request:
    start = rng.choice([content[: rng.choice([4, 8, 12, 16, 26])] for content in PHOTOS.values()])
    return {"content": start + rng.randbytes(rng.randint(0, 3000))}


def another_file(rng: random.Random) -> Request:
    kinds = [
        b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><svg>&a;</svg>",
        b"PK\3\4" + rng.randbytes(200), b"%PDF-1.7\n" + rng.randbytes(200), b"\x7fELF" + rng.randbytes(200),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run", b"#!/bin/sh\nrm -rf /\n",
        b'{"photo": "file:///etc/passwd"}', photo("PPM"), photo("ICO"), photo("TGA"), encoded(picture(), "PDF"),
    ]  # fmt: skip
    return {"content": rng.choice(kinds)}


def too_many_bytes(rng: random.Random) -> Request:
    padding = rng.randint(LIMITS.bytes, LIMITS.bytes + 200_000)
    if rng.random() < 0.5:
        return {"content": PHOTOS[rng.choice(FORMATS)] + bytes(padding)}
    return {"files": {"photo": PHOTOS["PNG"] + bytes(padding)}}


def a_length_that_is_a_lie(rng: random.Random) -> Request:
    return {"content": b"x", "headers": {"Content-Length": str(rng.choice([10**7, 10**12, 10**30]))}}


def scans_without_end(rng: random.Random) -> Request:
    return {"content": photographs.many_scans(rng.randint(70, 300))}


def a_broken_form(rng: random.Random) -> Request:
    boundary = rng.choice(["a", "a" * 300, "é", "", '"', "a;b"])
    kind = f"multipart/form-data; boundary={boundary}".encode()
    body = rng.choice([
        b"", b"--a", b"--a\r\n\r\n", b"--a--\r\n", b"--a\r\nContent-Disposition: form-data\r\n\r\nx\r\n--a--\r\n",
        b'--a\r\nContent-Disposition: form-data; name="photo"\r\n\r\n' + PHOTOS["PNG"] + b"\r\n--a--\r\n",
        b'--a\r\nContent-Disposition: form-data; name="photo"; filename="../../etc/x"\r\n\r\nno photo\r\n--a--\r\n',
        b"--a\r\n" + b"X: y\r\n" * 500 + b"\r\n", b"--a\r\n" + rng.randbytes(300), rng.randbytes(300),
    ])  # fmt: skip
    return {"content": body, "headers": {b"Content-Type": kind}}


def a_form_without_the_photo(rng: random.Random) -> Request:
    return rng.choice([
        {"files": {"image": PHOTOS["PNG"]}},
        {"files": [("photo", PHOTOS["PNG"])] * 2},
        {"files": {"x": b""}, "data": {str(number): "x" * 100 for number in range(rng.randint(1, 40))}},
        {"files": {"photo": b""}},
        {"files": {"photo": ("a.jpg", rng.randbytes(400), "image/jpeg")}},
    ])  # fmt: skip


def of_bits_nobody_reads(rng: random.Random) -> Request:
    floats = Image.fromarray(np.random.default_rng(rng.randint(0, 9)).random((9, 9), np.float32))
    wide = bytearray(PHOTOS["BMP"])
    struct.pack_into("<H", wide, 28, rng.choice([3, 7, 64, 65_535]))
    return {"content": rng.choice([encoded(floats, "TIFF"), bytes(wide)])}


def a_parameter_that_is_none(rng: random.Random) -> Request:
    key, value = rng.choice([("format", "exe"), ("format", "../png"), ("format", ""), ("format", "x" * 2000)])
    return {"content": PHOTOS["PNG"], "params": {key: value}}


HOSTILE: tuple[Callable[[random.Random], Request], ...] = (
    claims_too_much, unpacks_to_much_more, text_that_unpacks, cut_off, noise, noise_behind_a_signature, another_file,
    too_many_bytes, a_length_that_is_a_lie, scans_without_end, a_broken_form, a_form_without_the_photo,
    of_bits_nobody_reads, a_parameter_that_is_none,
)  # fmt: skip


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder and that of temporary files, which stays empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.rglob("*")) == []


def answers(requests: list[Request], paths: tuple[str, ...] = ("/segment",)) -> list[httpx.Response]:
    """Sent one after the other, to the paths in turn."""

    async def run() -> list[httpx.Response]:
        service = Service(Decoding(), timeout=20)  # type: ignore[arg-type]
        transport = httpx.ASGITransport(create_app(service))  # what the application raises is raised here
        async with httpx.AsyncClient(transport=transport, base_url="http://getam") as client:
            found = [await client.post(paths[n % len(paths)], **each) for n, each in enumerate(requests)]
        await service.close()
        assert service.places.taken == 0
        return found

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of damaged files
        return asyncio.run(run())


def check(count: int, seed: int) -> None:
    rng = random.Random(seed)
    kinds = [HOSTILE[number % len(HOSTILE)] for number in range(count)]
    requests = [kind(rng) for kind in kinds]
    files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    statuses: Counter[str] = Counter()
    for kind, answer in zip(kinds, answers(requests, ("/segment", "/segment", "/explain")), strict=True):
        assert answer.status_code in (413, 415, 422), (kind.__name__, answer.status_code, answer.text[:300])
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["detail"]
        assert len(answer.content) < 5000
        statuses[str(answer.status_code)] += 1
    assert len(statuses) == 3
    if files:
        assert len(os.listdir("/proc/self/fd")) <= files + 3


def test_hostile_uploads_are_a_4xx_each(empty: Path) -> None:
    check(14 * 15, seed=0)


@pytest.mark.slow
def test_two_thousand_hostile_uploads_are_a_4xx_each(empty: Path) -> None:
    check(2100, seed=1)


def flipped(count: int, seed: int) -> Iterator[Request]:
    """Photos with some bytes changed: many can still be read."""
    rng = random.Random(seed)
    for _ in range(count):
        content = bytearray(PHOTOS[rng.choice(FORMATS)])
        for _ in range(rng.choice([1, 2, 5, 20])):
            content[int(rng.random() ** 2 * len(content))] = rng.randrange(256)
        yield {"content": bytes(content)}


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_damaged_photos_are_read_or_a_4xx(count: int, empty: Path) -> None:
    requests = list(flipped(count, seed=2))
    found = Counter(answer.status_code for answer in answers(requests))
    assert set(found) <= {200, 413, 415, 422}, found
    assert len(found) >= 3


def test_the_photos_they_are_made_of_are_taken(empty: Path) -> None:
    for answer in answers([{"content": content} for content in PHOTOS.values()]):
        assert answer.status_code == 200


def test_pillow_never_opens_what_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its other readers are more code for strangers to try."""
    opened: list[Any] = []
    real = Image.open
    monkeypatch.setattr(
        Image, "open", lambda *given, **options: opened.append(options["formats"]) or real(*given, **options)
    )
    decode_upload(PHOTOS["PNG"], LIMITS, 100)
    assert [set(formats) for formats in opened] == [set(FORMATS)] * 2
