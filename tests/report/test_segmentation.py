"""A mask that draws itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from getam.data.masks import read_mask
from getam.errors import InputError
from getam.report.overlay import label_overlay
from getam.report.palette import css_colour
from getam.report.segmentation import SHOWN, Segmentation

PHOTO = torch.arange(3 * 4 * 6).reshape(3, 4, 6).to(torch.uint8)
LABEL = np.array([[0, 0, 0, 0, 0, 2]] * 3 + [[3, 3, 3, 3, 2, 2]], np.uint8)  # b 5, c<d 4, of 24


@pytest.fixture
def found() -> Segmentation:
    return Segmentation(LABEL, ("a", "b", "c<d"), {"b": 0.75, "c<d": 0.5}, PHOTO, "photo 1")


def test_shares_and_masks(found: Segmentation) -> None:
    assert list(found.shares().items()) == [("b", 5 / 24), ("c<d", 4 / 24)]
    assert np.array_equal(found.mask("b"), LABEL == 2)
    assert not found.mask("a").any()
    with pytest.raises(InputError, match="no class 'e': known: a, b, c<d"):
        found.mask("e")
    assert repr(found) == "<mask of photo 1: b 21%, c<d 17%>"


def test_nothing_found() -> None:
    empty = Segmentation(np.zeros((4, 6), np.uint8), ("a",), {}, PHOTO)
    assert empty.shares() == {}
    assert repr(empty) == "<mask of photo: background alone>"
    assert "background alone" in empty._repr_html_()


def test_pictures(found: Segmentation, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = label_overlay(PHOTO.permute(1, 2, 0).numpy(), LABEL)
    assert np.array_equal(np.asarray(found.overlay()), wanted)
    shown: list[Image.Image] = []
    monkeypatch.setattr(Image.Image, "show", lambda image: shown.append(image))
    found.show()
    assert np.array_equal(np.asarray(shown[0]), wanted)


def test_in_a_notebook(found: Segmentation) -> None:
    page = found._repr_html_()
    assert "c&lt;d 17%" in page
    assert page.index(css_colour(2)) < page.index("b 21%") < page.index(css_colour(3))
    large = Segmentation(
        np.zeros((20, 3 * SHOWN), np.uint8), ("a",), {}, torch.zeros(3, 20, 3 * SHOWN, dtype=torch.uint8)
    )
    assert len(large._repr_html_()) < 10_000


def test_files(found: Segmentation, tmp_path: Path) -> None:
    path = found.save(tmp_path / "masks")
    assert path == tmp_path / "masks" / "photo 1.png"
    assert np.array_equal(read_mask(path), LABEL)
    assert (tmp_path / "masks" / "classes.txt").read_text().splitlines() == ["background", "a", "b", "c<d"]
    before = path.read_bytes()
    other = Segmentation(LABEL * 0, found.classes, {}, PHOTO, "photo 1")
    with pytest.raises(InputError, match=r"photo 1\.png exists: .*overwrite=True"):
        other.save(tmp_path / "masks")
    assert path.read_bytes() == before
    other.save(str(tmp_path / "masks"), overwrite=True)
    assert not read_mask(path).any()
    with pytest.raises(InputError, match="holds masks of other classes"):
        Segmentation(LABEL, ("x", "y", "z"), {}, PHOTO, "new").save(tmp_path / "masks")
    assert not (tmp_path / "masks" / "new.png").exists()


def test_more_classes_than_a_byte_holds(tmp_path: Path) -> None:
    classes = tuple(f"class {number}" for number in range(300))
    for dtype in (np.uint16, np.int32):
        found = Segmentation(np.full((4, 6), 299, dtype), classes, {}, PHOTO)
        assert found.shares() == {"class 298": 1.0}
        assert found.overlay().size == (6, 4)
        assert (read_mask(found.save(tmp_path / dtype.__name__)) == 299).all()
