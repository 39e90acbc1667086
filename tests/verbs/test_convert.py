"""`getam convert` from end to end: folders of masks into every format and back, and what stands in the way."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import getam
from getam import cli
from getam.data.confidences import read_confidences, with_confidences
from getam.data.mask_formats.photo_files import by_name, match
from getam.data.mask_formats.registry import FORMATS
from getam.data.masks import encode_mask, read_classes, read_mask, write_classes
from getam.errors import InputError

LABEL = np.array([[0, 1, 1, 1, 255], [0, 1, 0, 1, 0], [2, 1, 1, 1, 2]], np.uint8)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """masks/ and photos/ of a.jpg, "sub folder/b ü.png" and one photo more."""
    masks, photos = tmp_path / "masks", tmp_path / "photos"
    for folder in (masks, photos):
        (folder / "sub folder").mkdir(parents=True)
    for name in ("a.jpg", "sub folder/b ü.png", "more.jpg"):
        Image.new("RGB", (5, 3)).save(photos / name)
    (masks / "a.png").write_bytes(with_confidences(encode_mask(LABEL), {"cat": 0.25}))
    (masks / "sub folder" / "b ü.png").write_bytes(encode_mask(LABEL[::-1].copy()))
    write_classes(masks, ("cat", "dog"))
    return masks, photos


@pytest.mark.parametrize("form", [name for name in FORMATS if name != "png"])
def test_there_and_back_on_the_command_line(
    form: str, folders: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    masks, photos = folders
    there, back = tmp_path / "there", tmp_path / "back"
    options = [str(masks), "--to", form, "--out", str(there), "--photos", str(photos)]
    with caplog.at_level(logging.WARNING):
        assert cli.main(["convert", *options]) == 0
    assert ("confidences" in caplog.text) == (form in ("cvat", "labelme", "voc", "yolo"))
    assert ("2 undecided pixels" in caplog.text) == (form == "yolo")
    assert cli.main(["convert", str(there), "--from", form, "--out", str(back), "--photos", str(photos)]) == 0
    assert read_classes(back) == ("cat", "dog")
    for name, label in (("a", LABEL), ("sub folder/b ü", LABEL[::-1])):
        expected = label * (label < 255) if form == "yolo" else label
        np.testing.assert_array_equal(read_mask(back / f"{name}.png"), expected)
    assert read_confidences(back / "a.png") == ({"cat": 0.25} if form in ("coco", "label-studio") else {})
    assert sorted(file.name for file in back.rglob("*.png")) == ["a.png", "b ü.png"]


def test_photos_are_named_as_they_are(folders: tuple[Path, Path], tmp_path: Path) -> None:
    masks, photos = folders
    assert (
        getam.convert(masks, to="coco", out=tmp_path / "coco", photos=photos, prefix="x/")
        == tmp_path / "coco"
    )
    content = json.loads((tmp_path / "coco" / "annotations.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["x/a.jpg", "x/sub folder/b ü.png"]
    getam.convert(masks, to="label-studio", out=tmp_path / "ls", photos=photos)
    tasks = json.loads((tmp_path / "ls" / "tasks.json").read_text())
    assert tasks[0]["data"]["image"] == "/data/local-files/?d=photos/a.jpg"
    getam.convert(masks, to="labelme", out=tmp_path / "lm", photos=photos)
    assert json.loads((tmp_path / "lm" / "sub folder" / "b ü.json").read_text())["imagePath"] == (
        "../../photos/sub folder/b ü.png"
    )


def test_labelme_files_beside_their_photos(folders: tuple[Path, Path], tmp_path: Path) -> None:
    masks, photos = folders
    getam.convert(masks, to="labelme", out=photos, photos=photos)
    assert json.loads((photos / "sub folder" / "b ü.json").read_text())["imagePath"] == "b ü.png"
    getam.convert(photos, from_="labelme", out=tmp_path / "back")
    np.testing.assert_array_equal(read_mask(tmp_path / "back" / "a.png"), LABEL)


def test_between_two_tools_photos_need_not_be_there(folders: tuple[Path, Path], tmp_path: Path) -> None:
    masks, photos = folders
    getam.convert(masks, to="coco", out=tmp_path / "coco", photos=photos)
    getam.convert(tmp_path / "coco", from_="coco", to="cvat", out=tmp_path / "cvat")
    assert 'name="sub folder/b ü.png"' in (tmp_path / "cvat" / "annotations.xml").read_text(encoding="utf-8")


def test_masks_of_uploaded_photos_are_called_after_the_photos(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    masks, photos = folders
    getam.convert(masks, to="label-studio", out=tmp_path / "ls", photos=photos)
    file = tmp_path / "ls" / "tasks.json"
    tasks = json.loads(file.read_text())
    tasks[0]["data"] = {"image": "/data/upload/3/0a1b2c3d-a.jpg"}
    tasks[1]["data"] = {"image": "https://host/b%20%C3%BC.png"}
    file.write_text(json.dumps(tasks))
    getam.convert(file, from_="label-studio", out=tmp_path / "back", photos=photos)
    np.testing.assert_array_equal(read_mask(tmp_path / "back" / "a.png"), LABEL)
    np.testing.assert_array_equal(read_mask(tmp_path / "back" / "sub folder" / "b ü.png"), LABEL[::-1])


def test_which_photo_belongs_to_a_mask() -> None:
    index = by_name(["x/a.jpg", "y/a.jpg", "y/b.jpg", "c-d.jpg", "d.jpg"])
    assert match("x/a", index) == "x/a.jpg"
    assert match("z/b", index) == "y/b.jpg"
    assert match("c-d", index) == "c-d.jpg"
    assert match("e-d", index) == "d.jpg"
    with pytest.raises(InputError, match="2 photos"):
        match("a", index)
    with pytest.raises(InputError, match="no photo belongs to the mask 'y/bb'; did you mean 'y/b'"):
        match("y/bb", index)


def test_two_masks_of_one_photo_are_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    masks, photos = folders
    (masks / "b ü.png").write_bytes((masks / "a.png").read_bytes())
    with pytest.raises(InputError, match="several masks belong to the photo sub folder/b ü"):
        getam.convert(masks, to="coco", out=tmp_path / "out", photos=photos)


def test_what_stays_behind_is_said_once_with_its_count(
    folders: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shape = '<box label="cat" xtl="0" ytl="0" xbr="1" ybr="1"/>'
    image = f'<image id="0" name="a.jpg" width="5" height="3">{shape * 3}</image>'
    (tmp_path / "in.xml").write_text(f"<annotations>{image}</annotations>")
    with caplog.at_level(logging.WARNING):
        getam.convert(tmp_path / "in.xml", from_="cvat", out=tmp_path / "back")
    assert caplog.messages == ["not read from cvat, because they are no masks: 3 shapes of the kind box"]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        getam.convert(folders[0], to="yolo", out=tmp_path / "yolo")
    assert caplog.messages == ["yolo has no place for: 2 undecided pixels, now background, 1 confidences"]


def test_mistakes_are_one_sentence_and_nothing_is_written(folders: tuple[Path, Path], tmp_path: Path) -> None:
    masks, photos = folders
    out = tmp_path / "out"
    many = tmp_path / "many"
    write_classes(many, [f"c{number}" for number in range(255)])
    (many / "a.png").write_bytes(encode_mask(LABEL))
    (tmp_path / "file").write_text("")
    for said, given in (
        ("from png to png", {"to": "png"}),
        ("no format 'pdf'", {"to": "pdf"}),
        ("no format 'pdf'", {"from_": "pdf"}),
        ("png does not say what files", {"to": "coco"}),
        ("yolo does not say how large", {"from_": "yolo"}),
        ("no photo belongs to the mask 'a'", {"to": "coco", "photos": photos / "more.jpg"}),
        ("--classes has not", {"to": "voc", "classes": ("dog",)}),
        ("voc has room for 254 classes, and these are 255", {"to": "voc", "masks": many}),
        ("does not exist", {"to": "voc", "masks": tmp_path / "none"}),
        ("is a file: give a folder", {"to": "voc", "out": tmp_path / "file"}),
    ):
        options = {"masks": masks, "out": out, **given}
        with pytest.raises(InputError, match=said):
            getam.convert(options.pop("masks"), **options)
        assert not out.exists()


def test_files_in_the_way_stay_unless_told_otherwise(folders: tuple[Path, Path], tmp_path: Path) -> None:
    masks, photos = folders
    for form in FORMATS:
        if form == "png":
            continue
        out = tmp_path / form
        last = out / FORMATS[form].results(["a", "sub folder/b ü"])[-1]
        last.parent.mkdir(parents=True)
        last.write_text("mine")
        with pytest.raises(InputError, match="--overwrite"):
            getam.convert(masks, to=form, out=out, photos=photos)
        assert [file for file in out.rglob("*") if file.is_file()] == [last]
        assert last.read_text() == "mine"
        getam.convert(masks, to=form, out=out, photos=photos, overwrite=True)
        assert last.read_bytes() != b"mine"


def test_nothing_that_is_read_is_written_over(folders: tuple[Path, Path], tmp_path: Path) -> None:
    masks, photos = folders
    getam.convert(masks, to="voc", out=masks, photos=photos)
    with pytest.raises(InputError, match="is read here"):
        getam.convert(masks, from_="voc", to="png", out=masks / "SegmentationClass", overwrite=True)
