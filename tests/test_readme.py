"""The README's example in Python, run as it stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pages import README, blocks


def test_the_first_example(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Image.open(scenes / "photos" / "scene0.png") as photo:
        photo.save(tmp_path / "photo.jpg")
    shown: list[Image.Image] = []
    monkeypatch.setattr(Image.Image, "show", lambda picture: shown.append(picture))
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(blocks(README, "python")[0].text, names)
    maps, picture, masks = names["maps"], names["picture"], names["masks"]
    assert isinstance(picture, Image.Image)
    assert picture.size == (48, 40)
    assert np.shape(masks) == (1, 2, 40, 48)
    assert [name for name, _ in maps.found()] == ["cat", "dog"]  # type: ignore[attr-defined]
    assert {file.name for file in (tmp_path / "maps").iterdir()} == {
        "photo.cat.png",
        "photo.dog.png",
        "photo.npz",
    }
    assert len(shown) == 1
