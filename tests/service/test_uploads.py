"""What uploads are refused by, and that the others are read as `getam predict` reads the same file."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import photographs
import pytest
from photographs import CLAIMING, FORMATS, encoded, photo, picture
from PIL import Image

from getam.data.photos import read_photo, read_photo_near
from getam.service.uploads import SCANS, Limits, RefusedError, check_upload, decode_upload

LIMITS = Limits(1, 1)


def status(content: bytes, limits: Limits = LIMITS) -> int:
    with pytest.raises(RefusedError) as refused:
        decode_upload(content, limits, 100)
    assert len(str(refused.value).splitlines()) == 1
    return refused.value.status


@pytest.mark.parametrize("form", FORMATS)
def test_photos_are_read_as_from_a_file(form: str, tmp_path: Path) -> None:
    content = photo(form, 300, 400)
    (tmp_path / "a").write_bytes(content)
    found, size = decode_upload(content, LIMITS, 100)
    wanted, wanted_size = read_photo_near(tmp_path / "a", 100)
    assert size == wanted_size == (300, 400)
    np.testing.assert_array_equal(found, wanted)
    assert (found.size == (100, 75)) == (form == "JPEG")  # decoded at a fourth
    np.testing.assert_array_equal(decode_upload(content, LIMITS, None)[0], read_photo(tmp_path / "a"))
    assert check_upload(content, LIMITS) == (400, 300)


def test_turned_photos_stand_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    found, size = decode_upload(encoded(picture(), "JPEG", exif=exif.tobytes()), LIMITS, None)
    assert size == (48, 40)
    assert found.size == (40, 48)


def test_limits_are_millions() -> None:
    assert (Limits().bytes, Limits().pixels) == (20_000_000, 50_000_000)
    assert (Limits(0.5, 0.25).bytes, Limits(0.5, 0.25).pixels) == (500_000, 250_000)


def test_the_limits_are_inclusive() -> None:
    content = photo("PNG", 100, 200)
    exact = Limits(len(content) / 1e6, 0.02)
    assert check_upload(content, exact) == (200, 100)
    assert status(content + b" ", exact) == 413
    assert status(content, Limits(1, 0.019999)) == 413


@pytest.mark.parametrize("form", CLAIMING)
def test_bombs_are_refused_by_their_header(form: str) -> None:
    for width, height in ((60_000, 60_000), (2_000, 501), (16_000, 16_000)):
        content = CLAIMING[form](width, height)
        tracemalloc.start()
        assert status(content) == 413
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1e6  # nothing was decoded


def test_sides_have_a_limit_of_their_own() -> None:
    assert status(photographs.png_claiming(65_536, 1)) == 413
    assert status(photographs.png_claiming(65_535, 1)) == 422  # its pixels are missing
    assert status(photographs.png_claiming(1, 65_536)) == 413


def test_what_is_no_photo_or_of_another_format() -> None:
    assert status(b"") == 422
    for content in (b"hello", b"\0" * 1000, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", photo("PPM"),
                    photo("ICO"), encoded(picture(), "EPS"), b"P6 100000 100000 255\n"):  # fmt: skip
        assert status(content) == 415


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_photos(form: str) -> None:
    content = photo(form, 100, 100)
    for keep in (len(content) // 2, 40):
        assert status(content[:keep]) in (415, 422)
    assert status(content[: len(content) // 2]) == 422


def test_text_that_unpacks_to_much_more_is_refused() -> None:
    import zlib

    text = b"a\0\0" + zlib.compress(bytes(50_000_000), 9)
    content = photo("PNG")
    assert status(content[:33] + photographs.chunk(b"zTXt", text) + content[33:]) == 422


def test_a_jpeg_of_many_scans() -> None:
    progressive = encoded(picture(), "JPEG", progressive=True)
    assert 2 < progressive.count(b"\xff\xda") <= SCANS
    decode_upload(progressive, LIMITS, None)
    assert status(photographs.many_scans()) == 422
