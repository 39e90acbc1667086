"""Colour photos of 16 bits a channel, against tifffile's and zlib's bytes."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from getam.data.photos import decode_near, read_grey, read_photo, read_photo_near, upright
from getam.errors import InputError


def png(values: NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits (H,W,3), which Pillow does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def colours(largest: int) -> NDArray[np.uint16]:
    values = np.random.default_rng(largest).integers(0, largest + 1, (9, 7, 3)).astype(np.uint16)
    values[4, 3, 1] = largest
    return values


def write(path: Path, values: NDArray[np.uint16], kind: str) -> Path:
    if kind == "png":
        path.write_bytes(png(values))
    else:
        order, compression = kind.split("-")
        tifffile.imwrite(
            path,
            values,
            byteorder="<" if order == "<" else ">",
            compression=None if compression == "raw" else "zlib",
            photometric="rgb",
            rowsperstrip=4,
        )
    return path


@pytest.mark.parametrize("kind", ["png", "<-raw", ">-raw", "<-zlib", ">-zlib"])
@pytest.mark.parametrize(("largest", "white"), [(255, 255), (1000, 1023), (4095, 4095), (32767, 32767)])
def test_the_bits_of_colours_that_are_in_use_are_the_range(
    tmp_path: Path, kind: str, largest: int, white: int
) -> None:
    values = colours(largest)
    path = write(tmp_path / "a", values, kind)
    expected = np.rint(values * (255 / white))
    np.testing.assert_array_equal(np.array(read_photo(path)), expected)
    photo, size = read_photo_near(path, 4)
    np.testing.assert_array_equal(np.array(photo), expected)
    assert size == (9, 7)
    np.testing.assert_array_equal(np.array(decode_near(path.read_bytes(), "a", None)[0]), expected)
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.array(upright(image, "a")), expected)
    np.testing.assert_array_equal(np.array(upright(Image.open(io.BytesIO(path.read_bytes())), "a")), expected)


@pytest.mark.parametrize("kind", ["png", "<-raw", ">-zlib"])
def test_colours_of_all_sixteen_bits_are_their_upper_eight(tmp_path: Path, kind: str) -> None:
    values = colours(0x8000)
    found = np.array(read_photo(write(tmp_path / "a", values, kind)))
    np.testing.assert_array_equal(found, values >> 8)


def test_black_colours_are_black(tmp_path: Path) -> None:
    assert not np.array(read_photo(write(tmp_path / "a", np.zeros((9, 7, 3), np.uint16), "png"))).any()


def test_a_turned_photo_of_twelve_bits_is_turned(tmp_path: Path) -> None:
    values = colours(4095)
    tifffile.imwrite(
        tmp_path / "a.tif", values, photometric="rgb", extratags=[(0x0112, "H", 1, 6, True)], metadata=None
    )
    expected = np.rint(np.rot90(values, -1) * (255 / 4095))
    np.testing.assert_array_equal(np.array(read_photo(tmp_path / "a.tif")), expected)


def test_a_map_in_colour_keeps_the_full_range(tmp_path: Path) -> None:
    path = write(tmp_path / "a", np.full((9, 7, 3), 4095, np.uint16), "png")
    assert set(np.array(read_grey(path)).ravel()) == {15}


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_channels_of_sixteen_bits_that_lie_apart_are_refused(tmp_path: Path, compression: str | None) -> None:
    """Of the uncompressed ones Pillow reads noise."""
    planes = colours(65535).transpose(2, 0, 1)
    tifffile.imwrite(
        tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate", compression=compression
    )
    for read in (read_photo, read_grey):
        with pytest.raises(InputError, match=r"a\.tif is a TIFF of 16 bits .*planar.* save it interleaved"):
            read(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as image, pytest.raises(InputError, match=r"of 16 bits"):
        upright(image, "a")


def test_channels_of_eight_bits_that_lie_apart_are_read(tmp_path: Path) -> None:
    values = (colours(65535) >> 8).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", values.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"
    )
    np.testing.assert_array_equal(np.array(read_photo(tmp_path / "a.tif")), values)


def test_a_grey_tiff_that_says_it_is_planar_is_read(tmp_path: Path) -> None:
    """One channel lies apart from no other."""
    values = colours(65535)[..., 0]
    Image.fromarray(values).save(tmp_path / "a.tif", compression="tiff_adobe_deflate", tiffinfo={284: 2})
    np.testing.assert_array_equal(np.array(read_photo(tmp_path / "a.tif"))[..., 0], np.rint(values / 257))


def test_a_file_of_twelve_bits_that_ends_early_is_no_photo(tmp_path: Path) -> None:
    content = write(tmp_path / "a.tif", colours(4095), "<-raw").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[:-20])
    with pytest.raises(InputError, match="truncated"):
        read_photo(tmp_path / "a.tif")
