"""The cache of maps: hits, misses, changed photos, other weights, and what is left of an interrupted write."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from getam.data.map_cache import MapCache, cache_folder, write_grey
from getam.errors import InputError


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"one")
    return path


def test_the_same_photo_has_the_same_file_wherever_it_lies(photo: Path, tmp_path: Path) -> None:
    cache = MapCache("maker", "weights a", tmp_path / "cache")
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(photo.read_bytes())
    assert cache.file(photo) == cache.file(copy)
    assert MapCache("maker", "weights a", tmp_path / "cache").file(photo) == cache.file(photo)


def test_a_changed_photo_other_weights_and_another_maker_have_other_files(
    photo: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cache"
    files = {
        MapCache("maker", "weights a", folder).file(photo),
        MapCache("maker", "weights b", folder).file(photo),
        MapCache("other", "weights a", folder).file(photo),
    }
    photo.write_bytes(b"two")
    assert len(files | {MapCache("maker", "weights a", folder).file(photo)}) == 4


def test_the_names_say_maker_key_and_photo(photo: Path, tmp_path: Path) -> None:
    # sha256 of "one" and of "weights a", from coreutils' sha256sum
    file = MapCache("maker", "weights a", tmp_path).file(photo)
    assert file.relative_to(tmp_path).as_posix() == (
        "maker-fdac43fd964c/7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed.png"
    )


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("GETAM_CACHE", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "getam"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "getam"
    monkeypatch.setenv("GETAM_CACHE", "~/own")
    assert cache_folder() == tmp_path / "own"


def test_a_cache_that_cannot_be_made_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be made .*GETAM_CACHE"):
        MapCache("maker", "weights", tmp_path / "file")


def test_maps_come_back_within_half_a_level(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((5, 7), dtype=np.float32)
    values[0, :2] = 0, 1
    write_grey(tmp_path / "deep" / "map.png", values)
    with Image.open(tmp_path / "deep" / "map.png") as image:
        assert image.mode == "L"
        read = np.asarray(image) / 255
    assert np.abs(read - values).max() <= 0.5 / 255 + 1e-6
    assert read[0, :2].tolist() == [0, 1]


@pytest.mark.parametrize(
    "bad", [np.full((2, 2), 1.1), np.full((2, 2), -0.1), np.full((2, 2), np.nan), np.zeros(3)]
)
def test_values_that_are_no_map_are_refused(bad: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a map is \(H,W\) in \[0,1\]"):
        write_grey(tmp_path / "map.png", bad.astype(np.float32))


def test_an_interrupted_write_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("getam.whole_files.os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_grey(tmp_path / "map.png", np.zeros((2, 2), np.float32))
    assert not list(tmp_path.iterdir())
