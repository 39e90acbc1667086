"""Formats by name, and which one a file is: a new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from getam.data.class_map import ClassMap
from getam.data.formats import (
    coco,
    csv_table,
    cvat,
    fiftyone,
    file_names,
    folders,
    label_studio,
    plain_json,
    voc_imagesets,
    voc_xml,
    webdataset,
)  # fmt: skip
from getam.data.formats.classes import tabulate
from getam.data.formats.listing import Listing
from getam.data.formats.source import Source
from getam.data.tags import TagTable
from getam.data.tars import names_tars
from getam.errors import InputError
from getam.registry import find

OWN = "tags.csv"


@dataclass(frozen=True)
class Format:
    """How one kind of file or folder is told and read.

    Attributes:
        looks: whether a source is one; it may raise `InputError` for one that is, but is broken.
        read: the photos it names.
        files: names under which it is found in a folder of photos where no tags file is named; "." is the folder.
    """

    looks: Callable[[Source], bool]
    read: Callable[[Source], Listing]
    files: tuple[str, ...] = ()


def _format(module: ModuleType, *files: str) -> Format:
    return Format(module.looks, module.read, files)


FORMATS: dict[str, Format] = {
    "webdataset": _format(webdataset),
    "coco": _format(coco, "_annotations.coco.json"),
    "label-studio": _format(label_studio),
    "fiftyone": _format(fiftyone, "samples.json", "labels.json"),
    "cvat": _format(cvat, "annotations.xml"),
    "voc-xml": _format(voc_xml, "."),
    "voc-imagesets": _format(voc_imagesets, "."),
    "folders": _format(folders, "."),
    "names": _format(file_names, "."),
    "json": _format(plain_json, "tags.json", "tags.jsonl"),
    "csv": _format(csv_table, OWN, "tags.tsv", "_classes.csv"),
}
"""In the order they are asked: the first that knows a file reads it."""


def read_tags(
    path: Path | str,
    classes: Sequence[str] | None = None,
    *,
    format: str | None = None,
    known: Sequence[str] = (),
    class_map: ClassMap | None = None,
) -> TagTable:
    """Read and check tags in any of the `FORMATS`.

    Args:
        path: a file, or a folder for those formats that are one.
        classes: selects a subset, in that order; the tags outside it are kept in `TagRow.others`. Without it the
            classes are all tags that a photo has, sorted.
        format: a name of `FORMATS`, with `:PATTERN` for "names" and `:KIND` for "webdataset"; recognised when left out.
        known: names of a model's classes: tags that differ from one in case only are read as that.

    `class_map` renames tags; `classes` are names after it.

    Raises `InputError`, naming file and line, for anything that cannot be read.
    """
    path = Path(path)
    name, _, argument = (format or "").partition(":")
    source = Source(path, argument)
    if format is not None:
        reader = find("format of tags", name, FORMATS)
    else:
        fitting = (each for each in FORMATS.values() if each.looks(source))
        reader = next(fitting, FORMATS["csv"])  # which says what is wrong with it
    return tabulate(path, reader.read(source), classes, known, class_map)


def find_tags(data: Path, *, format: str | None = None) -> Path:
    """Where the tags of a folder of photos are when nobody says: `tags.csv`, or else what a format is found by.

    Tars have theirs inside. Raises `InputError` where several are there. Where none is, the answer is `tags.csv`.
    """
    if names_tars(data):
        return data
    own = data / OWN
    if format is not None:
        named = find("format of tags", format.partition(":")[0], FORMATS).files
        return next((data / name for name in named if (data / name).exists()), own)
    if own.is_file():
        return own
    files = [data / name for each in FORMATS.values() for name in each.files if name != "."]
    there = [file for file in files if file.is_file()]
    if len(there) > 1:
        raise InputError(
            f"{data} has no {OWN}, but {there[0].name} and {there[1].name}: say which has the tags with --tags."
        )
    if there:
        return there[0]
    whole = [each for each in FORMATS.values() if "." in each.files]
    return data if any(each.looks(Source(data)) for each in whole) else own
