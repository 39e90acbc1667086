"""Disks that are full, folders that cannot be written, photos that vanish: a sentence, nothing lost, and on it goes."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from getam import cli
from getam.data.masks import read_mask
from getam.data.photos import read_photo_near
from getam.engine.state import read_state, write_state
from getam.whole_files import append_line, replacing, write_atomically


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Writing a file beyond this many bytes fails, as on a full disk; Python ignores the signal that goes with it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_does_not_fit_is_named_and_the_old_one_stays(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    write_atomically(file, b"old")
    with no_file_above(1000), pytest.raises(OSError, match="File too large") as found:
        write_atomically(file, bytes(2000))
    assert found.value.filename == str(file)
    assert file.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.png"]


def test_an_error_about_another_file_keeps_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing, replacing(tmp_path / "there"):
        (tmp_path / "absent").read_bytes()
    assert missing.value.filename == str(tmp_path / "absent")
    write_atomically(tmp_path / "there", b"")
    with pytest.raises(NotADirectoryError) as found:
        append_line(tmp_path / "there" / "a.txt", "x")
    assert found.value.filename == str(tmp_path / "there" / "a.txt")


def test_a_list_holds_no_half_line(tmp_path: Path) -> None:
    file = tmp_path / "list"
    append_line(file, "ä" * 40)
    append_line(file, "second")
    with no_file_above(100), pytest.raises(OSError, match="File too large") as found:
        append_line(file, "x" * 60)
    assert found.value.filename == str(file)
    append_line(file, "third")
    assert file.read_text() == "ä" * 40 + "\nsecond\nthird\n"


def test_a_state_that_does_not_fit_leaves_the_one_before(tmp_path: Path) -> None:
    write_state(tmp_path, {"model": {}, "step": 1})
    with no_file_above(50_000), pytest.raises(OSError, match="File too large") as found:
        write_state(tmp_path, {"model": {"a": torch.zeros(50_000)}, "step": 2})
    assert found.value.filename == str(tmp_path / "state.pt")
    state: Any = read_state(tmp_path)
    assert state["step"] == 1
    assert not list(tmp_path.glob(".*"))


def test_the_command_says_the_file_and_what_to_do(
    scenes: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [
        "predict", str(scenes / "photos"), "--model", str(trained), "--out", str(tmp_path / "out"), "--scales", "32",
        "--no-crf",
    ]  # fmt: skip
    with no_file_above(2500):  # enough for a mask, not for the page
        assert cli.main(line) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"getam: {tmp_path / 'out' / 'first-look.html'}: File too large; make room")
    assert cli.main(line) == 0  # no --overwrite needed


def vanishing(monkeypatch: pytest.MonkeyPatch, where: str, photo: Path, function: Callable[..., Any]) -> None:
    """The function at `where` does as before, and then a photo is gone."""

    def then_gone(*given: Any, **options: Any) -> Any:
        found = function(*given, **options)
        photo.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(where, then_gone)


def test_a_photo_that_vanishes_is_named_and_the_others_are_done(
    scenes: Path,
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = shutil.copytree(scenes / "photos", tmp_path / "photos")
    gone = folder / "scene5.png"
    vanishing(monkeypatch, "getam.verbs.predict.read_photo_near", gone, read_photo_near)
    line = ["predict", str(folder), "--model", str(trained), "--out", str(tmp_path / "out"), "--scales", "32"]
    assert cli.main([*line, "--on-bad-image", "skip"]) == 1
    said = capsys.readouterr().err
    assert f"photo {gone} does not exist" in said
    assert len(list((tmp_path / "out").glob("*.png"))) == 5
    shutil.copy(scenes / "photos" / "scene5.png", gone)
    monkeypatch.undo()
    assert cli.main(line) == 0
    assert len(list((tmp_path / "out").glob("*.png"))) == 6


def train_line(data: Path, out: Path, scenes: Path) -> list[str]:
    return [
        "train", "--data", str(data), "--tags", str(scenes / "tags.csv"), "--out", str(out), "--backbone",
        "small-hybrid", "--size", "32", "--batch-size", "2", "--steps", "4", "--saliency", "none",
    ]  # fmt: skip


def test_training_names_a_photo_that_vanishes(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from getam.engine.runfolder import RunFolder

    folder = shutil.copytree(scenes / "photos", tmp_path / "photos")
    vanishing(monkeypatch, "getam.engine.runfolder.RunFolder.open", folder / "scene2.png", RunFolder.open)
    line = train_line(folder, tmp_path / "run", scenes)
    assert cli.main(line) == 2
    assert f"{folder / 'scene2.png'} does not exist" in capsys.readouterr().err


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Makes a small file system, or changes its size or rights; needs the right to mount."""
    place = tmp_path / "disk"
    place.mkdir()

    def mounted(options: str) -> Path:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"no right to mount a file system here: {done.stderr.strip()}")
        return place

    try:
        yield mounted
    finally:
        subprocess.run(["umount", str(place)], capture_output=True, check=False)


LINES: dict[str, list[str]] = {
    "train": [],
    "predict": ["predict", "PHOTOS", "--model", "RUN", "--scales", "32"],
    "label": ["label", "--data", "PHOTOS", "--tags", "TAGS", "--model", "RUN", "--saliency", "none"],
    "saliency": ["saliency", "PHOTOS", "--provider", "embedded"],
}


@pytest.mark.slow
@pytest.mark.parametrize("verb", LINES)
@pytest.mark.parametrize("room", [0.02, 0.3, 0.6, 0.9])
def test_a_real_disk_that_is_full(
    verb: str,
    room: float,
    disk: Any,
    scenes: Path,
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = {"PHOTOS": str(scenes / "photos"), "RUN": str(trained), "TAGS": str(scenes / "tags.csv")}

    def line(out: Path) -> list[str]:
        if verb == "train":
            return train_line(scenes / "photos", out, scenes)
        return [*(names.get(word, word) for word in LINES[verb]), "--out", str(out)]

    assert cli.main(line(tmp_path / "room")) == 0
    needed = sum(-(-file.stat().st_size // 4096) * 4096 for file in (tmp_path / "room").iterdir())
    place = disk(f"size={max(8, int(room * needed) // 4096 * 4)}k") / "out"
    capsys.readouterr()
    assert cli.main(line(place)) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device; make room" in said
    assert str(place) in said
    for mask in place.glob("*.png"):
        read_mask(mask)  # whole
    assert not list(place.glob(".*.partial"))
    disk("remount,size=1g")
    assert cli.main(line(place)) == 0
    for file in (tmp_path / "room").iterdir():
        if file.suffix in (".png", ".safetensors"):
            assert (place / file.name).read_bytes() == file.read_bytes(), file.name


@pytest.mark.slow
@pytest.mark.parametrize("verb", LINES)
def test_a_folder_that_cannot_be_written(
    verb: str, disk: Any, scenes: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = disk("size=1m,ro") / "out"
    names = {"PHOTOS": str(scenes / "photos"), "RUN": str(trained), "TAGS": str(scenes / "tags.csv")}
    line = [*(names.get(word, word) for word in LINES[verb]), "--out", str(place)]
    assert cli.main(train_line(scenes / "photos", place, scenes) if verb == "train" else line) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"getam: {place}: Read-only file system"
