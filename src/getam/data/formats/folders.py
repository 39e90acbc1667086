"""A folder of photos per class, as ImageFolder reads it; photos in a folder `background` or `none` show no class."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from getam.data.formats.listing import Listing, tagged
from getam.data.formats.source import Source
from getam.data.photo_folder import PHOTO_SUFFIXES, PROTOCOL, find_files, left_out, unread_photos
from getam.data.tags import BACKGROUND
from getam.errors import InputError

NOTHING = (BACKGROUND, "none")
NO_CLASSES = (
    *("images", "image", "photos", "data", "train", "val", "valid", "validation", "test", "masks", "labels"),
    *("annotations", "saliency", "truth", "jpegimages", "imagesets"),
    *("segmentationclass", "segmentationclassaug", "segmentationobject"),
)  # fmt: skip
"""Folders that are part of some layout of data sets: where one is there, the folders are not taken for classes."""


def looks(source: Source) -> bool:
    """A folder with two or more folders of photos, none of a layout's, and no photo beside them."""
    if not source.is_folder or any(name.lower() in NO_CLASSES for name in _folders(source.path)):
        return False
    photos = _photos(source.path)
    return len({path.parts[0] for path in photos}) > 1 and all(len(path.parts) > 1 for path in photos)


def read(source: Source) -> Listing:
    """Every photo with the first folder it lies in. Raises `InputError` for a photo that lies in none."""
    if not source.is_folder:
        raise InputError(f"{source.path} is no folder: give one with a folder of photos per class.")
    rows = []
    for number, path in enumerate(_photos(source.path), start=1):
        if len(path.parts) == 1:
            raise InputError(
                f"{source.path / path} lies beside the folders of the classes: move it into one ({BACKGROUND} for none"
                " of them)."
            )
        name = path.parts[0]
        tags = () if name.casefold() in NOTHING else (name,)
        rows.append(tagged(path.as_posix(), tags, str(source.path / path), line=number))
    return Listing("a folder a class", tuple(rows), (".",), tuple(left_out(unread_photos(source.path))))


def _folders(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")]


def _photos(folder: Path) -> list[PurePosixPath]:
    found = find_files(folder, PHOTO_SUFFIXES, skip=lambda place: (place / PROTOCOL).is_file())
    return [PurePosixPath(file.relative_to(folder).as_posix()) for file in found]
