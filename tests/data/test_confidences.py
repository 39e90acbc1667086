"""Confidences inside masks: Pillow reads the chunk, and the pixels are what they were."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from getam.data.confidences import KEY, confidences, read_confidences, with_confidences
from getam.data.masks import encode_mask, read_mask


def test_there_and_back_and_the_pixels_stay(tmp_path: Path) -> None:
    label = np.arange(12, dtype=np.uint8).reshape(3, 4)
    file = tmp_path / "a.png"
    file.write_bytes(with_confidences(encode_mask(label), {"cat": 0.123456, '電車 "x"': 1.0}))
    assert read_confidences(file) == {"cat": 0.1235, '電車 "x"': 1.0}
    np.testing.assert_array_equal(read_mask(file), label)
    with Image.open(file) as image:
        image.verify()  # checksums


def test_without_any_the_file_is_as_before(tmp_path: Path) -> None:
    png = encode_mask(np.ones((2, 2), np.uint8))
    assert with_confidences(png, {}) == png
    (tmp_path / "a.png").write_bytes(png)
    assert read_confidences(tmp_path / "a.png") == {}


def test_what_others_keep_under_this_key_is_passed_over(tmp_path: Path) -> None:
    for text in ("[1]", "{", '{"cat": "x"}', '{"cat": null}', "7"):
        info = PngImagePlugin.PngInfo()
        info.add_text(KEY, text)
        encoded = io.BytesIO()
        Image.new("L", (1, 1)).save(encoded, "PNG", pnginfo=info)
        (tmp_path / "a.png").write_bytes(encoded.getvalue())
        assert read_confidences(tmp_path / "a.png") == {}


def test_background_and_undecided_pixels_are_no_class() -> None:
    beliefs = [[[0.9, 0.3, 0.2]], [[0.1, 0.7, 0.4]], [[0.0, 0.0, 0.4]]]
    assert confidences(beliefs, [[0, 1, -1]], ["cat", "dog"]) == {"cat": 0.7}
