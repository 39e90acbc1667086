"""The end of `label` and `predict`: what is said of the masks, and which photos the page shows first."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import getam
from getam.data.confidences import with_confidences
from getam.data.masks import write_mask
from getam.errors import InputError
from getam.metrics.plausibility import plausibility
from getam.outputs.folder import Job, OutputFolder
from getam.verbs.first_look import PAGE, SHOWN, end_with_first_look, look

NAMES = ("cat", "dog")


def folder_of(tmp_path: Path, masks: dict[str, np.ndarray]) -> OutputFolder:
    """Photos and masks as a verb leaves them."""
    jobs = []
    (tmp_path / "photos").mkdir()
    for number, (name, mask) in enumerate(masks.items()):
        photo = tmp_path / "photos" / f"{name}.png"
        Image.fromarray(np.full((*mask.shape, 3), 20 * number, np.uint8)).save(photo)
        jobs.append(Job(name, (f"{name}.png",), (photo,)))
    folder = OutputFolder(tmp_path / "out", jobs, {"verb": "predict"}, overwrite=False)
    for name, mask in masks.items():
        write_mask(folder.path / f"{name}.png", mask)
    return folder


def halves(left: int, right: int) -> np.ndarray:
    return np.array([[left] * 4 + [right] * 4] * 8, np.uint8)


def test_the_worst_come_first_and_equals_by_name(tmp_path: Path) -> None:
    masks = {
        "good": halves(0, 1),
        "full": halves(1, 2),
        "doubt": halves(0, 255),
        "b": halves(0, 2),
        "a": halves(0, 2),
    }
    folder = folder_of(tmp_path, masks)
    found = look(folder.jobs, folder, NAMES)
    assert [job.name for job, _ in found.judged] == ["doubt", "full", "a", "b", "good"]
    for job, its in found.judged:
        assert its == plausibility(masks[job.name], NAMES)
    assert found.doubtful == 2


def test_of_those_without_a_doubt_the_least_sure_come_first(tmp_path: Path) -> None:
    names = ("unnoted", "sure", "unsure", "mixed", "wrong")
    masks = {name: halves(1, 2) if name == "wrong" else halves(0, 1) for name in names}
    masks["nearly full"] = np.ones((8, 8), np.uint8)
    masks["nearly full"][0] = 0
    folder = folder_of(tmp_path, masks)
    noted = {"sure": {"cat": 0.9}, "unsure": {"cat": 0.6}, "mixed": {"cat": 0.99, "dog": 0.5},
             "wrong": {"cat": 0.95}, "nearly full": {"cat": 0.8}}  # fmt: skip
    for name, confidences in noted.items():
        file = folder.path / f"{name}.png"
        file.write_bytes(with_confidences(file.read_bytes(), confidences))
    found = look(folder.jobs, folder, NAMES)
    assert [job.name for job, _ in found.judged] == [
        "wrong",
        "mixed",
        "unsure",
        "nearly full",
        "sure",
        "unnoted",
    ]


def test_among_photos_of_as_many_doubts_the_least_sure_comes_first(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path,
        {"a": halves(0, 1), "b": halves(1, 2), "c": halves(1, 2), "d": halves(0, 1), "e": halves(0, 1)},
    )
    noted = {
        "a": {NAMES[0]: 0.9, NAMES[1]: 0.4},
        "b": {NAMES[0]: 0.9},
        "c": {NAMES[0]: 0.8},
        "d": {NAMES[0]: 0.5},
    }
    for name, sure in noted.items():
        file = folder.path / f"{name}.png"
        file.write_bytes(with_confidences(file.read_bytes(), sure))
    found = look(folder.jobs, folder, NAMES)
    assert [job.name for job, _ in found.judged] == [
        "c",
        "b",
        "a",
        "d",
        "e",
    ]  # b and c are covered whole: a doubt


def test_the_table_counts_photos_and_averages_over_those_that_have_the_class(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, {"a": halves(0, 1), "b": halves(1, 1), "c": halves(0, 255)})
    table = look(folder.jobs, folder, NAMES).table()
    assert table == [
        {"class": "background", "photos": 2, "covers on average": pytest.approx(0.5)},
        {"class": "cat", "photos": 2, "covers on average": pytest.approx(0.75)},
        {"class": "undecided", "photos": 1, "covers on average": pytest.approx(0.5)},
    ]


def test_tags_are_asked_for_where_they_are_known(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, {"a": halves(0, 1), "b": halves(0, 0)})
    found = look(folder.jobs, folder, NAMES, {"a": [0, 1], "b": []})
    assert {job.name: its.doubts for job, its in found.judged} == {"a": ("tagged dog, not found",), "b": ()}


def test_the_page_shows_ten_photos_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks = {f"fine{number:02}": halves(0, 1) for number in range(12)} | {"all over": halves(2, 2)}
    folder = folder_of(tmp_path, masks)
    end_with_first_look(folder, NAMES, skipped={"fine03": "broken"})
    page = (folder.path / PAGE).read_text()
    captions = re.findall(r"<h2>(.*?)</h2>", page)
    fine = [f"fine{number:02}: nothing looks wrong" for number in range(12) if number != 3]
    assert captions == ["all over: dog covers everything", *fine[: SHOWN - 1]]
    assert page.count("<figure>") == 2 * SHOWN
    assert "12 photos, 1 of them look wrong" in page
    assert "Heat maps" not in page
    assert (page.count("Prediction ("), page.count("Pseudo label (")) == (SHOWN, 0)
    end_with_first_look(folder, NAMES, skipped={"fine03": "broken"}, kind="pseudo_label")
    again = (folder.path / PAGE).read_text()
    assert (again.count("Prediction ("), again.count("Pseudo label (")) == (0, SHOWN)
    said = capsys.readouterr()
    assert said.out == ""
    assert "12 photos, 1 of them look wrong" in said.err
    assert f"the {SHOWN} to look at first: {folder.path / PAGE}" in said.err
    assert re.search(r"dog\W+1\W+100%", said.err)


def test_a_page_is_never_written_over_a_photo(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, {"a": halves(0, 1)})
    (folder.path / PAGE).hardlink_to(folder.jobs[0].sources[0])
    with pytest.raises(InputError, match="is read here and would be written over"):
        end_with_first_look(folder, NAMES, skipped={})


def test_names_need_not_be_utf8(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, {os.fsdecode(b"caf\xe9"): halves(0, 1)})
    end_with_first_look(folder, NAMES, skipped={})
    assert b"<h2>caf\xe9: nothing looks wrong</h2>" in (folder.path / PAGE).read_bytes()


def test_no_photo_at_all_is_no_error(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, {"a": halves(0, 1)})
    found = end_with_first_look(folder, NAMES, skipped={"a": "broken"})
    assert (found.judged, found.sentence()) == ((), "0 photos, none looks wrong")


def test_label_and_predict_end_with_it(
    scenes: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = getam.predict(scenes / "photos", model=trained, out=tmp_path / "masks", scales=(32,), crf=False)
    assert "6 photos" in capsys.readouterr().err
    assert "6 photos" in (masks / PAGE).read_text()
    labels = getam.label(
        data=scenes / "photos", tags=scenes / "tags.csv", model=trained, out=tmp_path / "labels", scales=(32,)
    )
    assert "6 photos" in (labels / PAGE).read_text()
