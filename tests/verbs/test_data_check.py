"""`getam data check`: one of each mistake, and nothing said of a sound data set."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from getam import cli
from getam.data.checks import Problem, tag_problems
from getam.data.masks import write_classes, write_mask
from getam.errors import InputError
from getam.verbs.data_check import data_check


def scene(seed: int) -> Image.Image:
    blobs = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    return Image.fromarray(blobs).resize((80, 60), Image.Resampling.BICUBIC)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight photos 0.jpg …, six horses and two cows, with masks; nothing wrong."""
    (tmp_path / "photos").mkdir()
    rows = ["image,tags"]
    for n in range(8):
        scene(n).save(tmp_path / "photos" / f"{n}.jpg")
        label = np.zeros((60, 80), np.uint8)
        label[5:20] = 1 if n < 6 else 2
        write_mask(tmp_path / "masks" / f"{n}.png", label)
        rows.append(f"{n}.jpg,{'horse' if n < 6 else 'cow'}")
    write_classes(tmp_path / "masks", ("horse", "cow"))
    (tmp_path / "tags.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def said(data: Path, **options: object) -> list[tuple[str, str, str]]:
    check = data_check(data / "photos", tags=(data / "tags.csv",), masks=data / "masks", **options)  # type: ignore[arg-type]
    return [(Path(each.where).name, each.what, each.remedy) for each in check.problems]


def test_a_stack_is_not_taken_for_a_photo_without_a_word(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene(20).save(data / "photos" / "s.tif", save_all=True, append_images=[scene(21), scene(22)])
    scene(23).save(data / "photos" / "t.tif")
    write_mask(data / "masks" / "s.png", np.zeros((60, 80), np.uint8))
    write_mask(data / "masks" / "t.png", np.zeros((60, 80), np.uint8))
    add(data, "s.tif,", "t.tif,")
    check = data_check(data / "photos", tags=(data / "tags.csv",), masks=data / "masks")
    assert check.problems == ()
    said = capsys.readouterr().out
    assert (
        f"TIFF files with several pictures, of which the first is read: 1 ({data / 'photos' / 's.tif'}); "
        in said
    )


def add(data: Path, *rows: str) -> None:
    with (data / "tags.csv").open("a") as file:
        file.writelines(f"{row}\n" for row in rows)


def test_nothing_wrong(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["data", "check", data / "photos", "--tags", data / "tags.csv", "--masks", data / "masks"]
    assert cli.main([str(part) for part in line]) == 0
    text = capsys.readouterr().out
    assert "no problem was found" in text
    assert "8 of 8 photos can be read" in text
    assert "8 of them have a mask" in text
    assert "horse" in text
    for name in ("8", "9"):
        (data / "photos" / f"{name}.nef").touch()
    assert cli.main([str(part) for part in line]) == 0
    text = capsys.readouterr().out
    assert f"2 photos are left out, as nothing here reads .nef ({data / 'photos' / '8.nef'}): convert" in text
    add(data, "8.nef,cow")  # now it is a problem, and the other one is left out
    assert cli.main([str(part) for part in line]) == 1
    text = capsys.readouterr().out
    assert f"1 photo is left out, as nothing here reads .nef ({data / 'photos' / '9.nef'}): convert" in text
    assert cli.main(["data", "check", str(data / "nowhere")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_exit_code_1_and_every_problem_at_once(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "photos" / "3.jpg").write_bytes(b"no photo")
    add(data, "9.jpg,cow", "10.jpg,cow")
    line = ["data-check", data / "photos", "--tags", data / "tags.csv"]
    assert cli.main([str(part) for part in line]) == 1
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "3 problems" in text
    assert "line 10" in text
    assert "line 11" in text
    assert "7 of 8 photos can be read" in text


def test_photos(data: Path) -> None:
    (data / "photos" / "3.jpg").write_bytes(b"no photo")
    (data / "photos" / "4.jpg").write_bytes(b"")
    add(data, "9.jpg,cow", "./5.png,horse")
    scene(20).save(data / "photos" / "5.png")
    found = said(data)
    assert (
        "tags.csv, line 10",
        f"photo 9.jpg is not in {data / 'photos'}",
        "correct the name, add the photo or delete the row",
    ) in found
    assert ("tags.csv, line 11", "photo 5.png is called '5' as 5.jpg is", "rename one of the photos") in found
    assert [what for where, what, _ in found if where == "4.jpg"] == ["is empty (0 bytes)"]
    assert [what.partition(" (")[0] for where, what, _ in found if where == "3.jpg"] == ["cannot be read"]
    assert len(found) == 4


@pytest.mark.parametrize(
    ("change", "what", "remedy"),
    [
        (lambda label: np.where(label == 1, 7, label), "label 7 is beyond the 2 classes", "complete classes.txt"),
        (lambda label: np.full_like(label, 255), "100% of the mask is 255, undecided", "label more of it"),
        (
            lambda label: np.pad(label[1:-1, 1:-1], 1, constant_values=255), "the whole border of the mask is 255",
            "was padded",
        ),
        (lambda label: np.where(label == 1, 2, label), "shows cow, which the photo is not tagged with", "add the tag"),
        (lambda label: label * 0, "shows no horse, which the photo is tagged with", "take the tag away"),
        (lambda label: label[:-1], "is 80×59 but its photo is 80×60 (width×height)", "write the mask at the size"),
    ],
)  # fmt: skip
def test_masks(data: Path, change, what: str, remedy: str) -> None:  # type: ignore[no-untyped-def]
    label = np.zeros((60, 80), np.uint8)
    label[5:20] = 1
    write_mask(data / "masks" / "2.png", change(label).astype(np.uint8))
    found = [(its, todo) for where, its, todo in said(data) if where == "2.png"]
    assert any(what in its and remedy in f"{its} {todo}" for its, todo in found), found


def test_masks_of_colours_and_of_other_classes(data: Path) -> None:
    scene(1).save(data / "masks" / "1.png")
    add(data, "8.jpg,yak")
    scene(8).save(data / "photos" / "8.jpg")
    found = said(data)
    assert [(where, what) for where, what, _ in found] == [
        ("masks", "the masks have no class 'yak'"), ("1.png", "is RGB colours, not label numbers"),
    ]  # fmt: skip
    assert "palette PNG" in found[1][2]
    assert "add it to classes.txt" in found[0][2]
    (data / "masks" / "classes.txt").unlink()
    assert [where for where, _, _ in said(data)] == ["masks"]


def test_what_nobody_looked_for_may_be_in_the_mask(data: Path) -> None:
    rows = [f"{n}.jpg,{int(n < 6)},{int(n >= 6)}" for n in range(8)]
    label = np.zeros((60, 80), np.uint8)
    label[5:20], label[30:40] = 1, 2
    write_mask(data / "masks" / "0.png", label)
    (data / "tags.csv").write_text("\n".join(["image,horse,cow", *rows]))
    assert [what for _, what, _ in said(data)] == ["shows cow, which the photo is not tagged with"]
    (data / "tags.csv").write_text("\n".join(["image,horse,cow", "0.jpg,1,?", *rows[1:]]))
    assert said(data) == []


def test_the_same_photo_twice(data: Path) -> None:
    scene(0).resize((40, 30)).save(data / "photos" / "8.png")
    add(data, "8.png,horse")
    photos = data / "photos"
    assert said(data) == [("0.jpg", f"shows the same as {photos / '8.png'}", "keep one of them")]
    (data / "tags.csv").write_text((data / "tags.csv").read_text().replace("8.png,horse", "8.png,cow"))
    [(_, what, remedy)] = said(data)
    assert what.endswith("with other tags (horse / cow)")
    assert remedy == "give them the same tags, or keep one"
    (photos / "train.txt").write_text("0\n1\n")
    (photos / "val.txt").write_text("8\n")
    [(_, what, remedy)] = said(data)
    assert what.endswith("across the splits train, val")
    assert "one split" in remedy
    assert said(data, splits=("val",))[0][1].endswith("(horse / cow)")


def test_of_many_that_are_the_same_the_first_are_named(data: Path) -> None:
    photos, copies = data / "photos", [f"a{n}" for n in range(7)]
    for name in copies:
        shutil.copy(photos / "0.jpg", photos / f"{name}.jpg")
    add(data, *(f"{name}.jpg,{'horse' if name < 'a3' else 'cow'}" for name in copies))
    [(_, what, _)] = said(data)
    named = ", ".join(str(photos / f"a{n}.jpg") for n in range(5))
    assert what == f"shows the same as {named} and 2 more, with other tags (horse / cow)"


def test_tags_files_are_splits(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(data / "photos" / "0.jpg", data / "photos" / "8.jpg")
    (data / "train.csv").write_text("image,tags\n0.jpg,horse\n1.jpg,horse\n")
    (data / "val.csv").write_text("image,tags\n8.jpg,horse\n6.jpg,cow\n1.jpg,horse\n")
    check = data_check(data / "photos", tags=(data / "train.csv", data / "val.csv"))
    assert check.splits == {"train": ("0", "1"), "val": ("8", "6")}
    assert [each.what.partition(" (")[0] for each in check.problems] == [
        "photo 1.jpg is called '1' as 1.jpg is",
        f"shows the same as {data / 'photos' / '8.jpg'}, across the splits train, val",
    ]
    assert check.problems[0].remedy == "list it in one split only, or rename it"
    (data / "val.csv").write_text("image,tags\n")
    check = data_check(data / "photos", tags=(data / "train.csv", data / "val.csv"))
    assert (
        check.problems[0].what.startswith("has a header and no rows") or "no rows" in check.problems[0].what
    )
    with pytest.raises(InputError, match="no rows"):
        data_check(data / "photos", tags=(data / "val.csv",))


def test_split_files(data: Path) -> None:
    photos = data / "photos"
    (photos / "train.txt").write_text("0\n1\nnine\n")
    (photos / "val.txt").write_text("1\n2\n")
    (photos / "test.txt").write_text("\n")
    found = said(data)
    assert [where for where, _, _ in found] == ["train.txt", "val.txt", "test.txt"]
    assert [what for _, what, _ in found[:2]] == [
        "nine has no row of tags, or its photo is missing", "1 is in the split train too",
    ]  # fmt: skip


def test_tags_that_look_like_slips() -> None:
    counts = {
        "horse": 40,
        "hrose": 2,
        "traffic light": 30,
        "traffic_light": 1,
        "cow": 9,
        "cat": 9,
        "horse,cow": 1,
    }
    found = {each.what: each.remedy for each in tag_problems(counts, "tags.csv")}
    assert found == {
        "the tag 'hrose' (2 photos) looks like 'horse' (40 photos)": "write horse, if it is meant",
        "the tag 'traffic_light' (1 photo) looks like 'traffic light' (30 photos)": (
            "write traffic light, if it is meant"
        ),
        "the tag 'horse,cow' looks like several": "write horse;cow",
    }
    assert tag_problems({"horse": 40, "hrose": 3}, "t") == []  # often enough to be meant
    assert tag_problems({"horse": 9, "hrose": 2}, "t") == []  # not so rare beside it
    assert tag_problems({"cow": 40, "cat": 1}, "t") == []


def test_another_case_is_said(data: Path) -> None:
    scene(8).save(data / "photos" / "8.jpg")
    add(data, "8.jpg,Cow")
    label = np.full((60, 80), 2, np.uint8)
    write_mask(data / "masks" / "8.png", label)
    assert said(data) == [("tags.csv", "Cow is read as cow", "write it the same way everywhere")]


def test_counts_and_what_is_together(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check = data_check(scenes / "photos", tags=(scenes / "tags.csv",))
    table = capsys.readouterr().out
    rows = [line.replace("│", " ").split() for line in table.splitlines() if "│" in line]
    for name in check.collection.classes:
        photos = sum(name in sample.tags for sample in check.collection.samples)
        assert [name, str(photos)] in [row[:2] for row in rows]
    assert isinstance(check.problems, tuple)
    assert all(isinstance(each, Problem) for each in check.problems)
