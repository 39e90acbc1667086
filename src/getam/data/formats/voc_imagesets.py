"""PASCAL VOC's `ImageSets/Main`: a file per class and split, `ID 1`, `ID -1`, or `ID 0` for difficult objects only.

What is difficult is unknown, and so is a class whose file does not list a photo.
"""

from __future__ import annotations

import re
from pathlib import Path

from getam.data.formats.listing import Listing, tagged
from getam.data.formats.source import Source
from getam.errors import InputError

MAIN = Path("ImageSets", "Main")
SPLITS = ("trainval", "train", "val", "test")
NAMED = re.compile(rf"(.+)_({'|'.join(SPLITS)})\.txt")


def looks(source: Source) -> bool:
    """A folder of such files, or one that has `ImageSets/Main`."""
    return source.is_folder and bool(_files(source.path))


def read(source: Source) -> Listing:
    """Photos and the classes listed for them. Raises `InputError`, naming file and line."""
    states: dict[str, dict[str, int]] = {}
    first: dict[str, str] = {}
    names: dict[str, None] = {}
    for name, file in _files(source.path):
        names[name] = None
        for number, line in enumerate(Source(file).text.splitlines(), start=1):
            if not line.strip():
                continue
            image, _, state = line.strip().rpartition(" ")
            if state not in ("1", "-1", "0") or not image.strip():
                raise InputError(
                    f"{file}, line {number}: {line.strip()[:60]!r} is not a photo's id and 1, 0 or -1; correct it."
                )
            states.setdefault(image.strip(), {})[name] = int(state)
            first.setdefault(image.strip(), f"{file}, line {number}")
    rows = tuple(
        tagged(
            image, [name for name, state in its.items() if state == 1], first[image],
            unknown=[name for name in names if its.get(name, 0) == 0], line=number,
        )
        for number, (image, its) in enumerate(states.items(), start=1)
    )  # fmt: skip
    return Listing("VOC image sets", rows, ("JPEGImages", "../JPEGImages", "../../JPEGImages"))


def _files(folder: Path) -> list[tuple[str, Path]]:
    """(class, file) of the largest split of each class; train and val where there is no trainval."""
    inner = folder / MAIN
    found: dict[str, dict[str, Path]] = {}
    for file in sorted((inner if inner.is_dir() else folder).glob("*.txt")):
        if match := NAMED.fullmatch(file.name):
            found.setdefault(match[1], {})[match[2]] = file
    chosen = []
    for name, splits in found.items():
        wanted = ("trainval",) if "trainval" in splits else ("train", "val")
        chosen += [(name, splits[each]) for each in wanted if each in splits] or [
            (name, file) for file in splits.values()
        ]
    return chosen
