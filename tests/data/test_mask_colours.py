"""Colours back to labels, against Pillow's own conversion of a palette PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from getam.data.mask_colours import labels_of_colours
from getam.data.masks import write_mask
from getam.errors import InputError


def coloured(path: Path, label: np.ndarray, mode: str = "RGB") -> Path:
    write_mask(path, label)
    Image.open(path).convert(mode).save(path)
    return path


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_every_label_comes_back(tmp_path: Path, mode: str) -> None:
    label = np.arange(256, dtype=np.uint8).reshape(8, 32)
    np.testing.assert_array_equal(labels_of_colours(coloured(tmp_path / "a.png", label, mode), 254), label)


def test_what_is_no_such_mask(tmp_path: Path) -> None:
    label = np.array([[0, 2, 255]], np.uint8)
    path = coloured(tmp_path / "a.png", label)
    assert labels_of_colours(path, 2).tolist() == label.tolist()
    with pytest.raises(InputError, match=r"the colour \(0, 128, 0\), which is none of VOC's for 1 classes"):
        labels_of_colours(path, 1)
    Image.fromarray(np.full((2, 2, 3), 7, np.uint8)).save(path)
    with pytest.raises(InputError, match=r"the colour \(7, 7, 7\)"):
        labels_of_colours(path, 254)
    Image.fromarray(np.zeros((2, 2, 4), np.uint8)).save(path)
    with pytest.raises(InputError, match="transparent"):
        labels_of_colours(path, 254)
    write_mask(path, label)
    with pytest.raises(InputError, match="no RGB image"):
        labels_of_colours(path, 254)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="without loss"):
        labels_of_colours(tmp_path / "a.jpg", 254)
    path.write_bytes(b"no image")
    with pytest.raises(InputError, match="cannot be read"):
        labels_of_colours(path, 254)
