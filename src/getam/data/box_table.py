"""True boxes of objects, from a CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from getam.boxes import Boxes
from getam.data.photo_files import photo_finder
from getam.data.tags import TagRow, clean_name, suggest
from getam.errors import InputError

SIDES = ("x0", "y0", "x1", "y1")
COLUMNS = ("image", *SIDES)


def read_boxes(path: Path, data: Path, classes: Sequence[str]) -> dict[Path, Mapping[str, Boxes]]:
    """Photo → class → its boxes, from a CSV with the columns image,x0,y0,x1,y1 and, if wanted, class.

    x1 and y1 are the first column and row beyond the box: x0 + width, y0 + height. `image` is found as in a table of
    tags. A box without a class belongs to whatever the photo shows, and is there under every class.

    Args:
        path: the CSV.
        data: folder of the photos.
        classes: known ones; boxes of others are left out where the file has a column `class`.

    Raises:
        InputError: no such file, another header, a number that is none, a box without a pixel, or a photo that is not
            there; with the line.
    """
    if not path.is_file():
        raise InputError(f"boxes {path} do not exist or are no file: check the path")
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")), strict=True)
        header = tuple(reader.fieldnames or ())
        rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"boxes {path} are no CSV in UTF-8 ({error}): write image,x0,y0,x1,y1") from None
    if header not in (COLUMNS, (*COLUMNS, "class")):
        raise InputError(
            f"{path}, line 1: the columns are {','.join(header) or 'missing'}: write image,x0,y0,x1,y1 or"
            " image,x0,y0,x1,y1,class"
        )
    find = photo_finder(data, path)
    found: dict[Path, dict[str, list[tuple[int, ...]]]] = {}
    for line, row in rows:
        where = f"{path}, line {line}"
        if None in row or None in row.values():
            raise InputError(f"{where}: a row has {len(header)} cells: {','.join(header)}")
        box = _box(where, [row[side] for side in SIDES])
        named = [clean_name(row["class"])] if "class" in header else list(classes)
        if named == [""]:
            raise InputError(f"{where}: the class is empty: name one, or leave out the column of classes")
        photo = find(TagRow(row["image"].replace("\\", "/"), (), line, where=where))
        for name in named:
            found.setdefault(photo, {}).setdefault(name, []).append(box)
    if not any(name in classes for boxes in found.values() for name in boxes):
        first = next((name for boxes in found.values() for name in boxes), "")
        said = f"; {suggest(first, tuple(classes))}" if first else ""
        raise InputError(f"{path} has no box of any of the classes {', '.join(classes)}{said}")
    return {
        photo: {name: np.array(each, np.int64) for name, each in boxes.items()}
        for photo, boxes in found.items()
    }


def check_inside(path: Path, photo: Path, boxes: Boxes, size: tuple[int, int]) -> None:
    """Raise `InputError` where one of a photo's boxes is not inside its (height, width)."""
    height, width = size
    for x0, y0, x1, y1 in boxes.tolist():
        if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
            raise InputError(
                f"{path}: the box {x0},{y0},{x1},{y1} is not inside {photo}, which is {width}×{height}: give"
                " x0,y0,x1,y1 in pixels of the upright photo, x1 at most its width and y1 at most its height"
            )


def _box(where: str, cells: Sequence[str]) -> tuple[int, ...]:
    try:
        box = tuple(int(cell) for cell in cells)
        np.array(box, np.int64)
    except (ValueError, OverflowError):
        raise InputError(f"{where}: {','.join(cells)} are not four whole numbers of pixels") from None
    if box[0] >= box[2] or box[1] >= box[3]:
        raise InputError(
            f"{where}: the box {','.join(cells)} has no pixel: x1 must be beyond x0, and y1 beyond y0"
        )
    return box
