"""The masks that were found right: a data set that grows photo by photo, and is whole at every moment.

`photos/`, `masks/` with `classes.txt`, and `tags.csv`, as `getam train --data photos --tags tags.csv --masks masks` and
`getam evaluate` read them. Where the app shows a folder with tags, `corrected-tags.csv` has all of them, those of kept
photos corrected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from filelock import FileLock

from getam.data.formats.registry import read_tags
from getam.data.masks import (
    CLASSES_FILE,
    LabelMap,
    encode_mask,
    read_classes,
    read_mask,
    remap,
    write_classes,
)
from getam.data.photos import suffix_of
from getam.data.tag_table import tag_table
from getam.data.tags import TagRow, TagTable
from getam.errors import InputError
from getam.label_numbers import SHALLOW_CLASSES
from getam.whole_files import write_atomically

PHOTOS, MASKS, TAGS, ALL_TAGS = "photos", "masks", "tags.csv", "corrected-tags.csv"
LOCK = ".lock"


@dataclass(frozen=True)
class Finished:
    """What is kept of one photo.

    Attributes:
        name: of the photo, a path without its suffix; where another photo is kept under it, a part of its content's
            hash is added.
        photo: its file, which is copied as it is.
        tags: the classes in it.
        label: (H,W), at the size the photo is shown at.
        classes: of the label: class i is label i + 1.
    """

    name: str
    photo: Path
    tags: tuple[str, ...]
    label: LabelMap
    classes: tuple[str, ...]


@dataclass(frozen=True)
class KeptSet:
    """The folder; `table` are the tags of the folder that photos come from, by the names the photos have there."""

    path: Path
    table: TagTable | None = None
    rows_of: Mapping[str, str] | None = None

    def names(self) -> tuple[str, ...]:
        """Of the photos that are kept, without suffix, in the order they came."""
        return tuple(_name(row.image) for row in self._rows())

    def tags(self) -> dict[str, tuple[str, ...]]:
        """Name → tags of the photos that are kept."""
        return {_name(row.image): row.tags for row in self._rows()}

    def mask(self, name: str, photo: Path) -> tuple[LabelMap, tuple[str, ...]] | None:
        """The mask that is kept of a photo, and its classes; None where none is, or another photo has the name."""
        image = next((row.image for row in self._rows() if _name(row.image) == name), None)
        if image is None or (self.path / PHOTOS / image).read_bytes() != photo.read_bytes():
            return None
        return read_mask(self.path / MASKS / f"{name}.png"), read_classes(self.path / MASKS)

    def check(self) -> None:
        """Refuse a folder that is no data set of the app's, before anyone works on masks.

        Raises:
            InputError: it is a file, or holds other things.
        """
        if self.path.is_file():
            raise InputError(f"{self.path} is a file: give a folder with --keep")
        if self.path.is_dir() and any(p.name != LOCK for p in self.path.iterdir()):
            if not (self.path / MASKS / CLASSES_FILE).is_file():
                raise InputError(
                    f"{self.path} holds other things than masks that were kept: give a new or empty folder with --keep"
                )
            read_classes(self.path / MASKS)
            self._rows()

    def keep(self, done: Finished) -> str:
        """Add a photo, its mask and its tags, or replace those of the same photo; returns the name it has.

        Classes, those of the folder's tags first, are only ever added at the end, so that masks which are there keep
        their meaning. Each file is written whole, the table last: whatever stops it, every photo of the table has its
        file and its mask.

        Raises:
            InputError: the photo's file is gone, no class is known yet, or there are too many.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path / LOCK):
            rows = self._rows()
            if not done.photo.is_file():
                raise InputError(f"the file of {done.name} is gone: drop the photo again, and choose it")
            content = done.photo.read_bytes()
            name = self._free(done.name, content, rows)
            before = read_classes(self.path / MASKS) if (self.path / MASKS / CLASSES_FILE).is_file() else ()
            shown = [c for i, c in enumerate(done.classes, start=1) if (done.label == i).any()]
            tags = tuple(dict.fromkeys((*done.tags, *shown)))
            of_folder = () if self.table is None else self.table.classes
            classes = tuple(dict.fromkeys((*before, *of_folder, *tags)))
            if not classes:
                raise InputError(
                    "a data set needs a class: choose a tag for this photo, or keep one with a tag first"
                )
            if len(classes) > SHALLOW_CLASSES:
                raise InputError(
                    f"{self.path} would have {len(classes)} classes and {SHALLOW_CLASSES} are possible: keep these"
                    " photos in another folder"
                )
            label = remap(done.label, done.classes, classes)
            image = f"{name}{suffix_of(done.photo)}"
            if classes != before:
                write_classes(self.path / MASKS, classes)
            write_atomically(self.path / PHOTOS / image, content)
            write_atomically(self.path / MASKS / f"{name}.png", encode_mask(np.ascontiguousarray(label)))
            row = TagRow(image, tags, 0)
            rows = [row if _name(old.image) == name else old for old in rows]
            rows += [] if row in rows else [row]
            write_atomically(self.path / TAGS, tag_table(rows, classes).encode())
            if self.table is not None:
                write_atomically(self.path / ALL_TAGS, self._corrected(rows, classes).encode())
        return name

    def _rows(self) -> list[TagRow]:
        file = self.path / TAGS
        return list(read_tags(file).rows) if file.is_file() else []

    def _free(self, name: str, content: bytes, rows: Sequence[TagRow]) -> str:
        """The name, or with a part of the content's hash where another photo has it."""
        digest = hashlib.sha256(content).hexdigest()
        for chosen in (name, f"{name}-{digest[:8]}"):
            there = [self.path / PHOTOS / row.image for row in rows if _name(row.image) == chosen]
            if not there or there[0].read_bytes() == content:
                return chosen
        raise InputError(f"two other photos are kept as {name} already: rename this one")

    def _corrected(self, rows: Sequence[TagRow], classes: Sequence[str]) -> str:
        """The folder's own table with the tags of kept photos."""
        assert self.table is not None
        kept = {_name(row.image): row.tags for row in rows}
        names = self.rows_of or {}
        new = tuple(name for name in classes if name not in self.table.classes)
        corrected = [
            replace(row, tags=kept[names[row.image]], unknown=())
            if names.get(row.image) in kept
            else replace(row, unknown=(*row.unknown, *new))  # nobody has looked for them there
            for row in self.table.rows
        ]
        return tag_table(corrected, (*self.table.classes, *new))


def _name(image: str) -> str:
    """`farm/a.jpg` → `farm/a`."""
    return PurePosixPath(image).with_suffix("").as_posix()


def safe_name(file_name: str) -> str:
    """What a dropped file is kept as: the last part of its name, without suffix and what a path could be made of.

    >>> safe_name("../../etc/my cat.jpg"), safe_name("...")
    ('my cat', 'photo')
    """
    stem = PurePosixPath(file_name.replace("\\", "/")).name
    stem = PurePosixPath(stem).stem if stem.strip(".") else ""
    stem = "".join(c for c in stem if c.isprintable() and c not in '/\\:*?"<>|').strip(" .")
    return stem[:100] or "photo"
