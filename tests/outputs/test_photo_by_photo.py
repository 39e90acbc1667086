"""A bad photo ends a verb's work with what is done kept, or is left out and reported; the same command goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import getam
from getam import cli
from getam.data.masks import read_mask
from getam.errors import InputError, SkippedError
from getam.verbs.explain import explain_photos

Verb = Callable[..., Any]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GETAM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def photos(scenes: Path, tmp_path: Path) -> Path:
    """Four photos with tags, of which the second is empty."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(4):
        shutil.copy(scenes / "photos" / f"scene{index}.png", folder)
    (folder / "scene1.png").write_bytes(b"")
    rows = (f"scene{index}.png,{'red;blue' if index == 2 else 'red'}" for index in range(4))
    (folder / "tags.csv").write_text("\n".join(["image,tags", *rows]) + "\n")
    return folder


def line(verb: str, photos: Path, trained: Path, out: Path, *more: str) -> list[str]:
    of_verb = {
        "predict": [str(photos), "--scales", "32", "--no-crf"],
        "explain": [str(photos), "--classes", "red", "--size", "32"],
        "saliency": [str(photos)],
        "label": ["--data", str(photos), "--scales", "32", "--no-flip", "--saliency", "none"],
        "label with saliency": ["--data", str(photos), "--scales", "32", "--no-flip", "--saliency", "attention"],
    }  # fmt: skip
    return [verb.split()[0], *of_verb[verb], "--model", str(trained), "--out", str(out), *more]


VERBS = ("predict", "explain", "saliency", "label")


def suffix(verb: str) -> str:
    return ".npz" if verb == "explain" else ".png"


def done(out: Path, verb: str) -> list[str]:
    return sorted(file.stem for file in out.glob(f"scene?{suffix(verb)}"))


@pytest.mark.parametrize("verb", VERBS)
def test_a_mended_photo_lets_the_same_command_go_on(
    verb: str, photos: Path, scenes: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = line(verb, photos, trained, out)
    assert cli.main(command) == 2
    said = capsys.readouterr().err
    assert "scene1.png is empty (0 bytes)" in said
    assert "what is done is kept" in said
    assert done(out, verb) == ["scene0"]
    first = out / f"scene0{suffix(verb)}"
    before = first.stat().st_mtime_ns

    shutil.copy(scenes / "photos" / "scene1.png", photos)
    assert cli.main(command) == 0
    assert done(out, verb) == [f"scene{i}" for i in range(4)]
    assert first.stat().st_mtime_ns == before
    assert sorted(file.name for file in out.glob("*.jsonl")) == ["protocol.jsonl"]
    assert json.loads((out / "protocol.jsonl").read_text())["photos"] == 4

    whole = tmp_path / "whole"
    assert cli.main(line(verb, photos, trained, whole)) == 0
    for file in whole.glob("scene*.png"):
        assert file.read_bytes() == (out / file.name).read_bytes()


@pytest.mark.parametrize("verb", [*VERBS, "label with saliency"])
def test_bad_photos_are_left_out_on_request_and_reported(
    verb: str, photos: Path, scenes: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (photos / "scene3.png").write_bytes(b"no photo")
    command = line(verb, photos, trained, out, "--on-bad-image", "skip")
    assert cli.main(command) == 1
    printed = capsys.readouterr()
    (sentence,) = [text for text in printed.err.splitlines() if text.startswith("getam: ")]
    assert "2 of 4 photos were left out" in sentence
    assert "scene1.png is empty" in sentence
    assert printed.out == ""
    assert done(out, verb) == ["scene0", "scene2"]
    record = json.loads((out / "protocol.jsonl").read_text())
    assert (record["photos"], record["skipped"]) == (2, ["scene1", "scene3"])
    shutil.copy(scenes / "photos" / "scene1.png", photos)
    shutil.copy(scenes / "photos" / "scene3.png", photos)
    assert cli.main(command) == 0
    assert done(out, verb) == [f"scene{i}" for i in range(4)]


def test_progress_counts_what_was_done_before_and_what_is_left_out(
    photos: Path, scenes: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = line("predict", photos, trained, tmp_path / "out")
    cli.main([*command, "--on-bad-image", "skip"])
    assert "predicting 4/4" in capsys.readouterr().err
    shutil.copy(scenes / "photos" / "scene1.png", photos)
    assert cli.main(command) == 0
    printed = capsys.readouterr()
    assert "predicting 4/4" in printed.err
    assert printed.out == f"{tmp_path / 'out'}\n"


def test_from_python(photos: Path, trained: Path, tmp_path: Path) -> None:
    options = {"model": trained, "scales": (32,), "crf": False}
    with pytest.raises(SkippedError, match="scene1"):
        getam.predict(photos, out=tmp_path / "a", on_bad_image="skip", **options)
    with pytest.raises(InputError, match=r"scene1.*--on-bad-image skip"):
        getam.predict(photos, out=tmp_path / "b", **options)
    for verb in (getam.predict, explain_photos, getam.saliency):
        with pytest.raises(InputError, match="--on-bad-image ignore: choose fail or skip"):
            verb(photos, out=tmp_path / "c", on_bad_image="ignore")
    with pytest.raises(InputError, match="--on-bad-image ignore: choose fail or skip"):
        getam.label(data=photos, out=tmp_path / "c", on_bad_image="ignore")
    assert not (tmp_path / "c").exists()


def test_a_saliency_map_that_cannot_be_read_counts_as_its_photo(
    photos: Path, scenes: Path, trained: Path, tmp_path: Path
) -> None:
    shutil.copy(scenes / "photos" / "scene1.png", photos)
    saliency = shutil.copytree(scenes / "photos", tmp_path / "saliency")
    (saliency / "scene2.png").write_bytes(b"")
    options = {"data": photos, "model": trained, "saliency": saliency, "scales": (32,), "flip": False}
    with pytest.raises(SkippedError, match=r"1 of 4 photos .*saliency/scene2\.png is empty"):
        getam.label(out=tmp_path / "out", on_bad_image="skip", **options)
    assert done(tmp_path / "out", "label") == ["scene0", "scene1", "scene3"]


def test_changed_tags_are_labelled_again(photos: Path, scenes: Path, trained: Path, tmp_path: Path) -> None:
    command = line("label", photos, trained, tmp_path / "out")
    assert cli.main(command) == 2
    table = (photos / "tags.csv").read_text()
    (photos / "tags.csv").write_text(table.replace("scene0.png,red", "scene0.png,"))
    shutil.copy(scenes / "photos" / "scene1.png", photos)
    assert cli.main(command) == 0
    assert not read_mask(tmp_path / "out" / "scene0.png").any()


def test_a_bad_photo_may_be_taken_off_the_table(photos: Path, trained: Path, tmp_path: Path) -> None:
    command = line("label", photos, trained, tmp_path / "out")
    assert cli.main(command) == 2
    table = (photos / "tags.csv").read_text()
    (photos / "tags.csv").write_text(table.replace("scene1.png,red\n", ""))
    assert cli.main(command) == 0
    assert done(tmp_path / "out", "label") == ["scene0", "scene2", "scene3"]


# Where results lie


@pytest.mark.parametrize("verb", ["predict", "explain", "saliency"])
def test_results_inside_the_photos_folder_are_no_photos(
    verb: str, photos: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "scene1.png").unlink()
    monkeypatch.chdir(photos)
    command = line(verb, Path(), trained, Path("results"))
    assert cli.main(command) == 0
    before = sorted(Path("results").rglob("*"))
    assert cli.main([*command, "--overwrite"]) == 0
    assert sorted(Path("results").rglob("*")) == before


@pytest.mark.parametrize("verb", ["predict", "saliency", "label"])
def test_photos_are_never_replaced_by_results(verb: str, photos: Path, trained: Path) -> None:
    (photos / "scene1.png").unlink()
    (photos / "tags.csv").write_text("image,tags\nscene0.png,red\n")
    before = {file.name: file.read_bytes() for file in photos.iterdir()}
    assert cli.main(line(verb, photos, trained, photos, "--overwrite")) == 2
    assert {file.name: file.read_bytes() for file in photos.iterdir()} == before


@pytest.mark.skipif(os.name == "nt", reason="file names are Unicode there")
def test_names_that_are_not_utf8(photos: Path, trained: Path, tmp_path: Path) -> None:
    (photos / "scene1.png").unlink()
    odd = os.fsdecode(b"caf\xe9.png")
    (photos / "scene0.png").rename(photos / odd)
    for verb in ("predict", "explain", "saliency"):
        assert cli.main(line(verb, photos, trained, tmp_path / verb)) == 0
        assert (tmp_path / verb / odd).with_suffix(suffix(verb)).is_file()
