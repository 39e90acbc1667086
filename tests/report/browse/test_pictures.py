"""The pictures of the gallery, read back by Pillow."""

import io

import numpy as np
import pytest
from PIL import Image

from getam.report.browse.pictures import (
    EXACT_SIDE,
    PICTURES,
    THUMB_SIDE,
    THUMBS,
    VIEW_SIDE,
    fitting,
    is_small,
    layer_png,
    write_pictures,
)


def read(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def test_a_layer_is_clear_but_for_its_classes():
    mask = np.zeros((12, 12), np.uint8)
    mask[2:10, 2:10] = 2
    pixels = read(layer_png(mask, 3))
    assert (pixels[mask == 0][:, 3] == 0).all()
    assert tuple(pixels[5, 5]) == (0x56, 0xB4, 0xE9, 191)  # three quarters of 255
    assert tuple(pixels[2, 5]) == (255, 255, 255, 255)  # its outline, inside
    assert tuple(pixels[3, 5]) == (0x56, 0xB4, 0xE9, 191)


@pytest.mark.parametrize(("kind", "undecided", "classes"), [(np.uint8, 255, 3), (np.uint16, 65535, 300)])
def test_undecided_pixels_are_hatched_and_have_no_outline(kind, undecided, classes):
    mask = np.full((16, 16), undecided, kind)
    mask[:, 8:] = 0
    pixels = read(layer_png(mask, classes))
    expected = np.where(np.indices((16, 8)).sum(0) % 8 < 4, 96, 176)
    for channel in range(3):
        assert np.array_equal(pixels[:, :8, channel], expected)
    assert (pixels[:, :8, 3] == 191).all()
    assert (pixels[:, 8:, 3] == 0).all()


def test_label_255_is_a_class_where_there_are_more():
    pixels = read(layer_png(np.full((3, 3), 255, np.uint16), 300))
    assert tuple(pixels[1, 1, :3]) == (0xB4, 0x2D, 0x00)  # the 15th colour: (255 − 1) mod 20 = 14


def test_fitting_never_enlarges():
    assert fitting((375, 500), 250) == (188, 250)
    assert fitting((10, 20), 250) == (10, 20)


def test_both_sizes_are_written_with_every_layer(tmp_path):
    for where in (THUMBS, PICTURES):
        (tmp_path / where).mkdir()
    photo = Image.new("RGB", (1200, 600), (200, 30, 30))
    mask = np.zeros((600, 1200), np.uint8)
    mask[:, 600:] = 1
    write_pictures(tmp_path, 7, photo, (600, 1200), {0: mask, 2: 1 - mask}, 1)
    for where, side in ((THUMBS, THUMB_SIDE), (PICTURES, VIEW_SIDE)):
        assert {file.name for file in (tmp_path / where).iterdir()} == {"7.jpg", "7-0.png", "7-2.png"}
        with Image.open(tmp_path / where / "7.jpg") as drawn:
            assert (drawn.size, drawn.format) == ((side, side // 2), "JPEG")
        first, third = (read((tmp_path / where / f"7-{layer}.png").read_bytes()) for layer in (0, 2))
        assert first.shape == (side // 2, side, 4)
        assert (first[:, : side // 2, 3] == 0).all()
        assert (first[:, side // 2 :, 3] > 0).all()
        assert (third[:, : side // 2, 3] > 0).all()
        assert (third[:, side // 2 :, 3] == 0).all()


def test_small_photos_are_kept_exactly(tmp_path):
    for where in (THUMBS, PICTURES):
        (tmp_path / where).mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    write_pictures(tmp_path, 0, Image.fromarray(pixels), (20, 30), {0: np.zeros((20, 30), np.uint8)}, 1)
    for where in (THUMBS, PICTURES):
        assert np.array_equal(np.asarray(Image.open(tmp_path / where / "0.png")), pixels)
    assert [is_small(size) for size in ((EXACT_SIDE, 1), (1, EXACT_SIDE), (1, EXACT_SIDE + 1))] == [
        True,
        True,
        False,
    ]


def test_a_mask_is_shrunk_by_taking_the_pixels_in_the_middle(tmp_path):
    for where in (THUMBS, PICTURES):
        (tmp_path / where).mkdir()
    scale = 3
    small = np.random.default_rng(1).integers(0, 3, (96, THUMB_SIDE), dtype=np.uint8)
    mask = small.repeat(scale, 0).repeat(scale, 1)
    write_pictures(tmp_path, 0, Image.new("RGB", mask.shape[::-1]), mask.shape, {0: mask}, 2)
    drawn = read((tmp_path / THUMBS / "0-0.png").read_bytes())
    assert np.array_equal(drawn, read(layer_png(small, 2)))
