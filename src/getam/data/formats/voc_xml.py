"""PASCAL VOC's XML, one file a photo, as LabelImg and many others write it: the names of the objects in each.

A class of which a photo has difficult objects only is unknown there, as in VOC's own image sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from getam.data.formats.listing import Listing, Tagged, tagged
from getam.data.formats.source import Source
from getam.data.photo_folder import find_files
from getam.errors import InputError

ANNOTATIONS = "Annotations"


def looks(source: Source) -> bool:
    """A folder of such files, or one that has `Annotations`, or one file."""
    if not source.is_folder:
        return source.is_xml and source.xml.tag == "annotation"
    return any(Source(file).xml.tag == "annotation" for file in islice(_files(source.path), 1))


def read(source: Source) -> Listing:
    """Photos and the objects in them. Raises `InputError`, naming the file."""
    files = _files(source.path) if source.is_folder else iter([source.path])
    rows = tuple(_photo(file, number) for number, file in enumerate(files, start=1))
    return Listing("VOC XML", rows, (".", "JPEGImages", "images", "../JPEGImages", "../images"))


def _files(folder: Path) -> Iterator[Path]:
    inner = folder / ANNOTATIONS
    yield from find_files(inner if inner.is_dir() else folder, (".xml",))


def _photo(file: Path, number: int) -> Tagged:
    root = Source(file).xml
    if root.tag != "annotation":
        raise InputError(
            f"{file}: <{root.tag}> where <annotation> is expected; this is no VOC XML, remove it."
        )
    present: dict[str, bool] = {}
    for each in root.iter("object"):
        name = (each.findtext("name") or "").strip()
        if not name:
            raise InputError(f"{file}: an <object> has no <name>; name it, or remove it.")
        present[name] = present.get(name, False) or (each.findtext("difficult") or "0").strip() != "1"
    image = (root.findtext("filename") or "").strip() or file.stem
    return tagged(
        image, [name for name, sure in present.items() if sure], f"{file}",
        unknown=[name for name, sure in present.items() if not sure], line=number,
    )  # fmt: skip
