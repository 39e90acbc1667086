"""Which photo a mask belongs to, whatever a tool has made of its path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from getam.data.mask_formats.base import Source, name_of
from getam.data.photo_folder import find_photos, path_in, photo_root
from getam.data.tags import suggest
from getam.errors import InputError


def photo_files(photos: Path, *, leave_out: Path | None = None) -> dict[str, Path]:
    """Path in the folder, with suffix and forward slashes → file, of all photos of a folder, or of tars."""
    root = photo_root(photos)
    return {path_in(root, file): file for file in find_photos(photos, leave_out=leave_out)}


def by_name(photos: Iterable[str]) -> dict[str, list[str]]:
    """What `match` looks names up in: photos by their paths without suffix, and by a slash and their file names."""
    index: dict[str, list[str]] = {}
    for photo in photos:
        name = name_of(photo)
        for key in (name, "/" + name.rpartition("/")[2]):
            index.setdefault(key, []).append(photo)
    return index


def match(name: str, index: Mapping[str, list[str]]) -> str:
    """The photo of a mask: that of the same path, or the only one of the same file name.

    Tools put photos into folders of their own, and Label Studio letters and a dash before uploaded ones. Raises
    `InputError` for none, or several.

    >>> match("upload/3/1a2b3c4d-a", by_name(["x/a.jpg", "b.jpg"]))
    'x/a.jpg'
    """
    last = name.rpartition("/")[2]
    keys = (name, f"/{last}", f"/{last.partition('-')[2]}")
    found = next((index[key] for key in keys if key in index), [])
    if not found:
        known = [key for key in index if not key.startswith("/")]
        raise InputError(
            f"no photo belongs to the mask {name!r}; {suggest(name, known)}: add it to the photos"
        )
    if len(found) > 1:
        raise InputError(
            f"{len(found)} photos could belong to the mask {name!r}: {', '.join(found)}: rename all but one"
        )
    return found[0]


def with_photos(source: Source, files: Mapping[str, Path]) -> Source:
    """The same masks, with their photos (path with suffix → file), and called after them.

    Raises `InputError` where a photo is missing, has several masks, or cannot be told from another.
    """
    index = by_name(files)
    photos = [match(name, index) for name in source.names]
    names = tuple(map(name_of, photos))
    if doubled := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"several masks belong to the photo {doubled[0]}: keep one of them")
    masks = (
        replace(mask, name=name, photo=photo, file=files[photo])
        for mask, name, photo in zip(source.masks, names, photos)
    )
    return replace(source, names=names, masks=masks)
