"""Photos of every kind are read as a viewer shows them; files that are none are named in one sentence."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, features

from getam.data.photo_folder import PHOTO_SUFFIXES, find_photos
from getam.data.photos import (
    as_tensor,
    pages,
    read_grey,
    read_photo,
    read_photo_near,
    upright,
)
from getam.errors import InputError


def gradient(height: int = 12, width: int = 20) -> np.ndarray:
    """An RGB picture without symmetry, so that every turn of it is another picture."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x * 7 + y * 3) % 256], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned{suffix}"
    Image.fromarray(gradient()).save(path, exif=exif, quality=95)

    with Image.open(path) as image:
        expected = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    photo = read_photo(path)

    assert photo.mode == "RGB"
    assert photo.size == ((12, 20) if orientation >= 5 else (20, 12))
    np.testing.assert_array_equal(np.array(photo), expected)
    assert read_photo_near(path, 20)[1] == expected.shape[:2]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_unreadable_exif_counts_as_upright(tmp_path: Path) -> None:
    path = tmp_path / "odd.jpg"
    Image.fromarray(gradient()).save(path, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert read_photo(path).size == (20, 12)


def test_cmyk_is_converted(tmp_path: Path) -> None:
    path = tmp_path / "print.jpg"
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(path, quality=100)
    red, green, blue = read_photo(path).getpixel((4, 4))
    assert red < 10
    assert green > 245
    assert blue > 245


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 257, 128 * 257, 65535], [128, 129, 65406, 65407]], np.uint16)
    path = tmp_path / f"deep{suffix}"
    Image.fromarray(values).save(path)
    expected = np.rint(values / 257)
    np.testing.assert_array_equal(np.array(read_photo(path))[..., 1], expected)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
@pytest.mark.parametrize(
    ("largest", "white"), [(1, 255), (255, 255), (256, 511), (1500, 2047), (4095, 4095), (16383, 16383), (32767, 32767),
                           (32768, 65535), (40000, 65535)]
)  # fmt: skip
def test_the_bits_that_are_in_use_are_the_range(
    tmp_path: Path, suffix: str, largest: int, white: int
) -> None:
    """Slices of 10 or 12 bits in files of 16 are no black photos; 8 bits in them are what they are."""
    values = np.array([[0, largest // 3, largest // 2, largest]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"slice{suffix}")
    found = np.array(read_photo(tmp_path / f"slice{suffix}"))
    np.testing.assert_array_equal(found[..., 0], np.rint(values * (255 / white)))
    assert (found == found[..., :1]).all()
    with Image.open(tmp_path / f"slice{suffix}") as image:
        np.testing.assert_array_equal(np.array(upright(image, "slice")), found)


def test_sixteen_bits_of_black_are_black(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 3), np.uint16)).save(tmp_path / "a.png")
    assert not np.array(read_photo(tmp_path / "a.png")).any()


def test_maps_of_sixteen_bits_keep_the_full_range(tmp_path: Path) -> None:
    """A map in which little is salient says so: 4,095 of 65,535 is little."""
    Image.fromarray(np.array([[0, 4095]], np.uint16)).save(tmp_path / "map.png")
    grey = read_grey(tmp_path / "map.png")
    assert (grey.mode, np.array(grey).tolist()) == ("L", [[0, 16]])
    Image.fromarray(np.array([[0, 200]], np.uint8)).save(tmp_path / "map.png")
    assert np.array(read_grey(tmp_path / "map.png")).tolist() == [[0, 200]]


def test_more_than_sixteen_bits_is_an_error(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 70000]], np.int32)).save(tmp_path / "deep.tif")
    with pytest.raises(InputError, match=r"deep\.tif has values from 0 to 70000.*convert it to 8 bits"):
        read_photo(tmp_path / "deep.tif")


def test_floating_point_is_an_error(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 0.5]], np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(InputError, match=r"float\.tif holds floating-point values.*convert it to 8 bits"):
        read_photo(tmp_path / "float.tif")


@pytest.mark.parametrize("mode", ["L", "1", "LA", "P", "RGBA", "PA", "YCbCr", "HSV", "LAB"])
def test_every_mode_comes_out_as_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("x.png" if mode in ("L", "1", "LA", "P", "RGBA") else "x.tif")
    image = Image.fromarray(gradient())
    if mode in ("PA", "LAB", "HSV"):
        image = Image.new(mode, (20, 12))
    try:
        image.convert(mode).save(path)
        Image.open(path).load()
    except OSError:
        pytest.skip(f"Pillow writes no file of mode {mode}, or none that it reads")
    photo = read_photo(path)
    assert photo.mode == "RGB"
    assert photo.size == (20, 12)


def test_grey_has_three_equal_channels(tmp_path: Path) -> None:
    Image.fromarray(gradient()[..., 0]).save(tmp_path / "grey.png")
    pixels = np.array(read_photo(tmp_path / "grey.png"))
    for channel in range(3):
        np.testing.assert_array_equal(pixels[..., channel], gradient()[..., 0])


def test_palette_is_looked_up(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(
        np.array(read_photo(tmp_path / "palette.png")), [[[10, 20, 30], [40, 50, 60]]]
    )


def test_transparent_is_laid_on_white(tmp_path: Path) -> None:
    clear, half, solid = (200, 0, 0, 0), (200, 0, 0, 128), (200, 0, 0, 255)
    Image.fromarray(np.array([[clear, half, solid]], np.uint8)).save(tmp_path / "clear.png")
    row = np.array(read_photo(tmp_path / "clear.png"))[0]
    np.testing.assert_array_equal(row[0], [255, 255, 255])
    np.testing.assert_allclose(row[1], [227, 127, 127], atol=1)
    np.testing.assert_array_equal(row[2], [200, 0, 0])


def test_transparent_palette_entry_is_white(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "palette.png", transparency=0)
    np.testing.assert_array_equal(
        np.array(read_photo(tmp_path / "palette.png")), [[[255, 255, 255], [40, 50, 60]]]
    )


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert read_photo(tmp_path / "moving.gif").getpixel((0, 0)) == (255, 0, 0)


def jpeg_bytes(height: int = 64, width: int = 96) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(gradient(height, width)).save(buffer, format="JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9])
def test_truncated_jpeg_is_named(tmp_path: Path, kept: float) -> None:
    content = jpeg_bytes()
    path = tmp_path / "half.jpg"
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InputError, match=r"half\.jpg cannot be read.*truncated.*copy it again") as caught:
        read_photo(path)
    assert str(caught.value).count("half.jpg") == 1
    with pytest.raises(InputError, match=r"half\.jpg cannot be read"):
        read_photo_near(path, 16)


def test_truncated_png_is_named(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(gradient(64, 96)).save(buffer, format="PNG")
    (tmp_path / "half.png").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(InputError, match=r"half\.png cannot be read"):
        read_photo(tmp_path / "half.png")


def test_enormous_photo_is_refused_not_decoded(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IEND", b""))
    with pytest.raises(
        InputError, match=r"bomb\.png cannot be read: it has more than 179 million pixels.*decompression bomb"
    ):
        read_photo(tmp_path / "bomb.png")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b"just text", "cannot be read"), (bytes(1000), "cannot be read")],
)
def test_what_is_no_photo_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "no.jpg").write_bytes(content)
    with pytest.raises(InputError, match=rf"no\.jpg {message}"):
        read_photo(tmp_path / "no.jpg")


def test_missing_photo_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.jpg does not exist"):
        read_photo(tmp_path / "gone.jpg")
    with pytest.raises(InputError, match="is no file"):
        read_photo(tmp_path)


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 1200), value=st.integers(0, 255), kept=st.integers(1, 1300))
def test_damaged_files_are_read_or_refused_cleanly(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, kept: int
) -> None:
    content = bytearray(jpeg_bytes())
    content[place % len(content)] = value
    path = tmp_path_factory.mktemp("damaged") / "photo.jpg"
    path.write_bytes(content[:kept])
    try:
        outcome = read_photo(path).mode
    except InputError as error:
        outcome = str(error)
    assert outcome == "RGB" or "photo.jpg" in outcome


def test_decoding_near_a_size_keeps_at_least_that_size(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(gradient(600, 800)).save(path, exif=exif, quality=95)

    small, full = read_photo_near(path, 150)

    assert full == (800, 600)
    assert small.size == (150, 200)  # a quarter is enough, an eighth would be 100
    whole = np.asarray(read_photo(path).resize(small.size, Image.Resampling.BOX), np.int64)
    assert np.abs(np.asarray(small, np.int64) - whole).mean() < 3
    assert read_photo_near(path, 5000)[0].size == (600, 800)


def test_the_reason_of_the_decoder_is_said_without_its_full_stop_and_the_path_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"no photo")
    with pytest.raises(InputError) as caught:
        read_photo(path)
    said = str(caught.value)
    assert said.startswith(f"photo {path} cannot be read (cannot identify image file): the file is truncated")
    assert said.count(str(path)) == 1
    Image.fromarray(gradient()).save(path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"cannot be read \(image file is truncated[^.]*\): the file"):
        read_photo(path)


def test_pictures_of_a_stack_are_counted_but_not_its_previews(tmp_path: Path) -> None:
    page, small = Image.new("L", (9, 6), 40), Image.new("L", (3, 2))
    page.save(tmp_path / "one.tif", save_all=True, append_images=[small])
    page.save(
        tmp_path / "stack.TIFF", save_all=True, append_images=[Image.new("L", (9, 6), 200), small, page]
    )
    page.save(tmp_path / "moving.gif", save_all=True, append_images=[Image.new("L", (9, 6), 200)])
    assert [pages(tmp_path / name) for name in ("one.tif", "stack.TIFF", "moving.gif")] == [1, 3, 1]
    assert read_photo(tmp_path / "stack.TIFF").getpixel((0, 0)) == (40, 40, 40)  # the first
    content = (tmp_path / "stack.TIFF").read_bytes()
    (tmp_path / "cut.tif").write_bytes(content[:4] + b"\xff" * 4)
    with pytest.raises(InputError, match=r"cut\.tif cannot be read \("):
        pages(tmp_path / "cut.tif")


@pytest.mark.parametrize("suffix", ["dcm", "nef"])
def test_of_a_kind_that_nothing_reads_it_is_said(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "a.dcm").write_bytes(b"DICM")
    Image.new("RGB", (3, 2)).save(tmp_path / "a.nef", "TIFF")  # the preview that cameras put into their files
    said = rf"a\.{suffix} cannot be read: nothing here reads \.{suffix}; convert to JPEG or PNG$"
    with pytest.raises(InputError, match=said):
        read_photo(tmp_path / f"a.{suffix}")


def test_what_can_be_read_is_read_whatever_its_suffix(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2)).save(tmp_path / "a.dcm", "PNG")
    assert read_photo(tmp_path / "a.dcm").size == (3, 2)


def test_as_tensor_is_channels_first_uint8() -> None:
    pixels = gradient()
    tensor = as_tensor(Image.fromarray(pixels))
    assert tensor.dtype == torch.uint8
    np.testing.assert_array_equal(tensor.numpy(), pixels.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "suffix",
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".bmp",
        ".tif",
        ".tiff",
        ".webp",
        ".gif",
        ".ppm",
        ".avif",
        ".jp2",
    ],
)
def test_every_listed_suffix_is_found_and_read(tmp_path: Path, suffix: str) -> None:
    if suffix in (needed := {".avif": "avif", ".jp2": "jpg_2000"}) and not features.check(needed[suffix]):
        pytest.skip(f"this build of Pillow has no {needed[suffix]}")
    assert suffix in PHOTO_SUFFIXES
    Image.fromarray(gradient()).save(tmp_path / f"a{suffix.upper()}")
    (photo,) = find_photos(tmp_path)
    assert read_photo(photo).size == (20, 12)


@pytest.mark.filterwarnings("error")
def test_sixteen_bits_round_to_the_nearest_level(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 257, 385, 386, 32896, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    found = np.array(read_photo(tmp_path / "deep.png"))[0, :, 0]
    np.testing.assert_array_equal(found, np.rint(values[0] / 65535 * 255).astype(np.uint8))


def test_a_half_transparent_pixel_is_half_white(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (255, 0, 0, 128)).save(tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png").getpixel((0, 0)) == (255, 127, 127)


def test_near_a_size_the_shape_and_the_full_size_stay(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (1600, 800), (200, 10, 60)).save(tmp_path / "a.jpg", exif=exif)
    photo, size = read_photo_near(tmp_path / "a.jpg", 300)
    assert size == (1600, 800)  # turned: height first
    assert photo.size == (200, 400)
    whole, size = read_photo_near(tmp_path / "a.jpg", 1600)
    assert (whole.size, size) == ((800, 1600), (1600, 800))
