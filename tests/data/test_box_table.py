"""Boxes from a CSV: found by photo and class, or refused with the line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from getam.data.box_table import check_inside, read_boxes
from getam.errors import InputError

CLASSES = ("cat", "dog")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos" / "in").mkdir(parents=True)
    for name in ("a.png", "in/b.png"):
        Image.new("RGB", (20, 10)).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def table(photos: Path, text: str) -> Path:
    file = photos.parent / "boxes.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_boxes_without_a_class_are_there_under_every_class(photos: Path) -> None:
    file = table(photos, "\ufeffimage,x0,y0,x1,y1\na.png,1,2,3,4\nin\\b,0,0,20,10\na.png,5,0,6,1\n")
    found = read_boxes(file, photos, CLASSES)
    assert set(found) == {photos / "a.png", photos / "in" / "b.png"}
    for name in CLASSES:
        assert found[photos / "a.png"][name].tolist() == [[1, 2, 3, 4], [5, 0, 6, 1]]
        assert found[photos / "in" / "b.png"][name].tolist() == [[0, 0, 20, 10]]
    assert found[photos / "a.png"]["cat"].dtype == np.int64


def test_boxes_with_a_class_are_of_that_class_alone(photos: Path) -> None:
    file = table(photos, "image,x0,y0,x1,y1,class\na.png,1,2,3,4, cat \na.png,5,0,6,1,cow\n")
    found = read_boxes(file, photos, CLASSES)
    assert {name: boxes.tolist() for name, boxes in found[photos / "a.png"].items()} == {
        "cat": [[1, 2, 3, 4]],
        "cow": [[5, 0, 6, 1]],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the columns are missing"),
        ("image,x,y,w,h\na.png,1,2,3,4\n", "line 1: the columns are image,x,y,w,h: write image,x0,y0,x1,y1"),
        ("image,x0,y0,x1,y1\na.png,1,2,3\n", "line 2: a row has 5 cells"),
        ("image,x0,y0,x1,y1\na.png,1,2,3,4,cat\n", "line 2: a row has 5 cells"),
        ("image,x0,y0,x1,y1\na.png,1,2,3,4\na.png,1,2,3.5,4\n", "line 3: 1,2,3.5,4 are not four whole numbers"),
        ("image,x0,y0,x1,y1\na.png,3,2,3,4\n", "line 2: the box 3,2,3,4 has no pixel"),
        ("image,x0,y0,x1,y1\na.png,1,4,3,4\n", "line 2: the box 1,4,3,4 has no pixel"),
        ("image,x0,y0,x1,y1\nc.png,1,2,3,4\n", "line 2: photo c.png is not in"),
        ("image,x0,y0,x1,y1,class\na.png,1,2,3,4,\n", "line 2: the class is empty"),
        ("image,x0,y0,x1,y1,class\na.png,1,2,3,4,kat\n", "no box of any of the classes cat, dog; did you mean 'cat'"),
        ("image,x0,y0,x1,y1\n", "no box of any of the classes cat, dog$"),
        ('image,x0,y0,x1,y1\n"a.png,1,2,3,4\n', "are no CSV in UTF-8"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(photos: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_boxes(table(photos, text), photos, CLASSES)


def test_a_file_that_is_not_there_or_no_text(photos: Path) -> None:
    with pytest.raises(InputError, match="do not exist or are no file"):
        read_boxes(photos / "none.csv", photos, CLASSES)
    (photos / "x.csv").write_bytes(b"image,x0\xff")
    with pytest.raises(InputError, match="are no CSV in UTF-8"):
        read_boxes(photos / "x.csv", photos, CLASSES)


def test_boxes_end_at_the_edges_of_the_photo(photos: Path) -> None:
    check_inside(Path("b.csv"), photos / "a.png", np.array([[0, 0, 20, 10]]), (10, 20))
    for box in ([-1, 0, 2, 2], [0, -1, 2, 2], [0, 0, 21, 2], [0, 0, 2, 11]):
        with pytest.raises(InputError, match=r"b\.csv: the box .* is not inside .*a\.png, which is 20×10"):
            check_inside(Path("b.csv"), photos / "a.png", np.array([[0, 0, 1, 1], box]), (10, 20))
