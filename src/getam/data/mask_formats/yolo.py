"""YOLO's segmentation labels: a text file a photo, a polygon a line, corners as shares of width and height."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import yaml

from getam.data.mask_formats.base import (
    UNDECIDED,
    PhotoMask,
    Reading,
    Source,
    canvas,
    name_of,
    one_each,
    ordered,
    understanding,
)
from getam.data.mask_formats.outlines import fill, outlines
from getam.data.photo_folder import find_files
from getam.errors import InputError
from getam.whole_files import write_atomically

TOOL = "YOLO"
LABELS = "labels"
FILE = "data.yaml"


def results(names: Sequence[str]) -> list[str]:
    """A file a photo, and the names of the classes."""
    return [FILE, *(f"{LABELS}/{name}.txt" for name in names)]


def write(
    out: Path, classes: tuple[str, ...], masks: Iterable[PhotoMask], prefix: str | None
) -> Counter[str]:
    """`out`/labels/NAME.txt and data.yaml; the photos belong into `out`/images.

    Class indices begin at 0. Undecided pixels become background and confidences are left out: both are counted.
    """
    lost: Counter[str] = Counter()
    for mask in masks:
        height, width = mask.label.shape
        lines = []
        for number, flags in mask.regions():
            if number == UNDECIDED:
                lost["undecided pixels, now background"] += int(flags.sum())
                continue
            for ring, _ in outlines(flags):
                # 6 digits, as YOLO's own tools write: less than 0.04 pixels on the largest photo there may be.
                shares = (f"{share:.6g}" for share in (ring / [width, height]).ravel())
                lines.append(f"{number - 1} {' '.join(shares)}\n")
        write_atomically(out / LABELS / f"{mask.name}.txt", "".join(lines).encode())
        if mask.confidences:
            lost["confidences"] += len(mask.confidences)
    content = {"path": ".", "train": "images", "val": "images", "names": dict(enumerate(classes))}
    write_atomically(out / FILE, yaml.safe_dump(content, allow_unicode=True, sort_keys=False).encode())
    return +lost


def read(path: Path, reading: Reading) -> Source:
    """Every text file of labels/, or of the folder itself; the later polygon on top; boxes are counted.

    The names of the classes are those of data.yaml. Raises `InputError` for anything else.
    """
    if not path.is_dir():
        raise InputError(f"{path} does not exist or is no folder: give the folder with {FILE} and {LABELS}")
    if reading.size is None:
        raise InputError(f"{path}: YOLO's files do not say how large the photos are: add --photos")
    size = reading.size
    folder = path / LABELS if (path / LABELS).is_dir() else path
    files = [file for file in find_files(folder, (".txt",)) if file != path / "classes.txt"]
    if not files:
        raise InputError(f"{folder} holds no text file: give the folder with {FILE} and {LABELS}")
    classes = _names(path, reading)
    names = one_each([name_of(file.relative_to(folder).as_posix()) for file in files], folder)
    lost: Counter[str] = Counter()

    def load(name: str, file: Path) -> PhotoMask:
        height, width = size(name)
        label = canvas(height, width)
        with understanding(file, "the text", TOOL):
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        for row, line in enumerate(lines, start=1):
            with understanding(file, f"line {row}", TOOL):
                number, *shares = line.split() or ["0"]
                if len(shares) == 4:
                    lost["boxes"] += 1
                elif shares:
                    if not 0 <= int(number) < len(classes):
                        raise ValueError(f"class {number} of {len(classes)}")
                    corners = np.array(shares, np.float64).reshape(-1, 2) * [width, height]
                    fill(label, corners, int(number) + 1)
        return PhotoMask(name, label)

    return Source(classes, names, (*files, path / FILE), map(load, names, files), lost)


def _names(path: Path, reading: Reading) -> tuple[str, ...]:
    """Class names by index: of data.yaml, where they are a list or go by their number, or those that are given."""
    file = path / FILE
    if not file.is_file():
        if reading.classes is None:
            raise InputError(
                f"{file} does not exist: name the classes with --classes, in the order of the indices"
            )
        return reading.classes
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{file} is no YAML: write path, train, val and names into it") from error
    with understanding(file, "names", TOOL):
        names = content["names"]
        if isinstance(names, dict):
            names = [names[index] for index in range(len(names))]
        found = tuple(str(name) for name in names)
    if reading.classes is not None and reading.classes != found:
        raise InputError(
            f"{file} has the classes {', '.join(found)}: leave out --classes, or give just these"
        )
    return ordered(found, None, file)
