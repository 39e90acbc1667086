"""What is let in: counted on the file, before anything is decoded."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from getam.errors import InputError
from getam.web.limits import Limits


def save(path: Path, size: tuple[int, int]) -> Path:
    Image.new("RGB", size, (9, 8, 7)).save(path)
    return path


def test_a_photo_within_the_limits_is_read(tmp_path: Path) -> None:
    file = save(tmp_path / "a.png", (40, 25))
    limits = Limits(file.stat().st_size / 1e6, 0.001)
    assert np.asarray(limits.read(file, "a.png")).tolist() == [[[9, 8, 7]] * 40] * 25
    assert Limits().megapixels == 64
    assert Limits().bytes == 50_000_000


def test_a_byte_or_a_row_more_is_refused_by_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = save(tmp_path / "a.png", (40, 26))
    monkeypatch.setattr("getam.web.limits.read_photo", lambda path: pytest.fail("it was decoded"))
    with pytest.raises(
        InputError, match=r"mine\.png has 40×26 pixels and at most 0.001 million are taken.*--megapixels"
    ):
        Limits(1, 0.001).read(file, "mine.png")
    with pytest.raises(InputError, match=r"^mine\.png has 0.0 MB and at most .* are taken.*--upload-mb"):
        Limits((file.stat().st_size - 1) / 1e6, 1).read(file, "mine.png")


def test_a_bomb_is_refused_unopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save(tmp_path / "a.png", (40, 25))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    with pytest.raises(InputError, match=r"^mine\.png has more pixels than Pillow opens"):
        Limits().read(file, "mine.png")


@pytest.mark.parametrize("content", [b"", b"no photo", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_photo_is_one_sentence_without_a_path(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"photo mine\.png") as raised:
        Limits().read(file, "mine.png")
    assert str(tmp_path) not in str(raised.value)


@pytest.mark.parametrize(
    ("numbers", "option"),
    [
        ((0, 1), "--upload-mb 0"),
        ((1, -2), "--megapixels -2"),
        ((float("nan"), 1), "--upload-mb nan"),
    ],
)
def test_limits_that_let_nothing_in_are_refused(numbers: tuple[float, float], option: str) -> None:
    with pytest.raises(InputError, match=f"{option} lets no photo in"):
        Limits(*numbers)
