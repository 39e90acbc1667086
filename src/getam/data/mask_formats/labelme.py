"""LabelMe's JSON files: polygons along pixel edges, one for each part of a class; mask shapes are read, too."""

from __future__ import annotations

import base64
import io
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from getam.data.mask_formats.base import (
    UNDECIDED,
    Label,
    PhotoMask,
    Reading,
    Source,
    as_json,
    canvas,
    name_of,
    names_of,
    numbers_of,
    one_each,
    ordered,
    photo_of,
    read_json,
    understanding,
)
from getam.data.mask_formats.outlines import fill, outlines
from getam.data.photo_folder import find_files
from getam.errors import InputError
from getam.whole_files import write_atomically

TOOL = "LabelMe"
VERSION = "5.5.0"
LABELS = "labels.txt"
IGNORED, NOTHING = "__ignore__", "_background_"
"""What LabelMe's own scripts call undecided pixels and background."""


def results(names: Sequence[str]) -> list[str]:
    """A file a photo, and the list of labels."""
    return [LABELS, *(f"{name}.json" for name in names)]


def write(
    out: Path, classes: tuple[str, ...], masks: Iterable[PhotoMask], prefix: str | None
) -> Counter[str]:
    """`out`/NAME.json, and labels.txt for `labelme --labels`.

    Photos are named by where they lie seen from the JSON, or by `prefix` and their path. Undecided pixels are the label
    `__ignore__`; holes are joined to their outlines. Confidences have no place in it: they are counted.
    """
    names = {**names_of(classes, TOOL), UNDECIDED: IGNORED}
    lost: Counter[str] = Counter()
    for mask in masks:
        file = out / f"{mask.name}.json"
        photo = photo_of(mask, TOOL)
        if prefix is not None or mask.file is None:
            photo = (prefix or "") + photo
        else:
            photo = Path(os.path.relpath(mask.file.absolute(), file.parent.absolute())).as_posix()
        shapes = []
        for number, flags in mask.regions():
            for ring, _ in outlines(flags):
                shapes.append({
                    "label": names[number], "points": ring.tolist(), "group_id": None, "description": "",
                    "shape_type": "polygon", "flags": {}, "mask": None,
                })  # fmt: skip
        height, width = mask.label.shape
        content = {
            "version": VERSION, "flags": {}, "shapes": shapes, "imagePath": photo, "imageData": None,
            "imageHeight": height, "imageWidth": width,
        }  # fmt: skip
        write_atomically(file, as_json(content))
        if mask.confidences:
            lost["confidences"] += len(mask.confidences)
    write_atomically(out / LABELS, "".join(f"{name}\n" for name in (IGNORED, NOTHING, *classes)).encode())
    return lost


def read(path: Path, reading: Reading) -> Source:
    """Every JSON of a folder and its subfolders: polygons, rectangles and masks, the later one on top.

    Other shapes are counted. The order of the classes is that of labels.txt, where there is one. Raises `InputError`
    for anything else.
    """
    if not path.is_dir():
        raise InputError(f"{path} does not exist or is no folder: give the folder with LabelMe's JSON files")
    files = find_files(path, (".json",))
    if not files:
        raise InputError(f"{path} holds no JSON: give the folder with LabelMe's JSON files")
    listed: list[str] = []
    if (path / LABELS).is_file():
        listed = [
            line.strip()
            for line in (path / LABELS).read_text(encoding="utf-8-sig").splitlines()
            if line.strip()
        ]
    used: set[str] = set()
    for file in files:
        with understanding(file, "the list of shapes", TOOL):
            used |= {str(shape["label"]) for shape in read_json(file, TOOL)["shapes"]}
    found = [name for name in (*listed, *sorted(used)) if name not in (IGNORED, NOTHING)]
    classes = ordered(found, reading.classes, path)
    numbers = {**numbers_of(classes), IGNORED: UNDECIDED, NOTHING: 0}
    names = one_each([name_of(file.relative_to(path).as_posix()) for file in files], path)
    lost: Counter[str] = Counter()

    def load(name: str, file: Path) -> PhotoMask:
        content = read_json(file, TOOL)
        with understanding(file, "a shape", TOOL):
            label = canvas(int(content["imageHeight"]), int(content["imageWidth"]))
            for shape in content["shapes"]:
                if not _paint(label, shape, numbers[shape["label"]]):
                    lost[f"shapes of the kind {shape['shape_type']}"] += 1
            suffix = Path(str(content["imagePath"]).replace("\\", "/")).suffix
        return PhotoMask(name, label, name + suffix)

    return Source(classes, names, (*files, path / LABELS), map(load, names, files), lost)


def _paint(label: Label, shape: dict[str, Any], number: int) -> bool:
    """Whether a shape covers pixels; if so, they have its number."""
    kind = shape.get("shape_type", "polygon")
    points = np.array(shape["points"], np.float64).reshape(-1, 2)
    if kind == "mask":
        with Image.open(io.BytesIO(base64.b64decode(shape["mask"]))) as image:
            flags = np.array(image.convert("L")) > 0
        left, top = (int(side) for side in points[0])
        inside = label[top : top + flags.shape[0], left : left + flags.shape[1]]
        if min(left, top) < 0 or inside.shape != flags.shape:
            raise ValueError("a mask reaches beyond the photo")
        inside[flags] = number
    elif kind == "rectangle":
        (x0, y0), (x1, y1) = points
        fill(label, np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), number)
    elif kind == "polygon":
        fill(label, points, number)
    else:
        return False
    return True
