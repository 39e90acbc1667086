"""Which file a row of tags means, and what its photo is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

from getam.data.photo_folder import PHOTO_SUFFIXES
from getam.data.tags import TagRow
from getam.data.tars import is_file, without_tar
from getam.errors import InputError


def is_voc_layout(data: Path) -> bool:
    """Whether a folder is laid out as VOC's."""
    return (data / "JPEGImages").is_dir() and (data / "ImageSets" / "Segmentation").is_dir()


def sample_name(image: str, is_voc: bool) -> str:
    """What a photo is called: the stem in the VOC layout, else the path without its suffix; a tar is a folder.

    >>> sample_name("farm/a.jpg", False), sample_name("JPEGImages/a.jpg", True), sample_name("../a.b", False)
    ('farm/a', 'a', 'a.b')
    >>> sample_name("photos-03.tar/a.jpg", False)
    'photos-03/a'
    """
    path = PurePosixPath(without_tar(image))
    short = path.with_suffix("") if path.suffix.lower() in PHOTO_SUFFIXES else path
    return short.name if is_voc or short.is_absolute() or ".." in short.parts else str(short)


def photo_finder(
    data: Path, tags: Path, folders: Sequence[str] = (), *, inside: bool = False
) -> Callable[[TagRow], Path]:
    """Row → file: as the row spells it or, where only one photo fits, in another case or with its suffix.

    Args:
        data: the folder of photos, where a file is looked for first.
        tags: file or folder of tags; where it lies is the next place.
        folders: further ones, relative to that, or to `tags` where it is a folder.
        inside: refuse photos that do not lie in `data`, links followed.

    The function raises `InputError`, naming the row's place, for a photo that is not there, that could be two, or that
    lies outside.
    """
    root, is_voc = data.resolve(), is_voc_layout(data)
    base = tags if tags.is_dir() else tags.parent
    bases = [data, tags.parent, *(base / folder for folder in folders)]

    def allowed(place: Path) -> bool:
        return not inside or place.resolve().is_relative_to(root)

    @lru_cache
    def listed(folder: Path) -> dict[str, list[Path]]:
        by_name: dict[str, list[Path]] = {}
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            if file.suffix.lower() in PHOTO_SUFFIXES and allowed(file):
                for name in {file.name.casefold(), file.stem.casefold()}:
                    by_name.setdefault(name, []).append(file)
        return by_name

    def find(row: TagRow) -> Path:
        places = [folder / row.image for folder in bases]
        if is_voc:
            jpegs = data / "JPEGImages"
            places[1:1] = [jpegs / row.image, jpegs / f"{row.image}.jpg"]
        places = [place for place in places if allowed(place)]
        if not places:
            raise InputError(
                f"{row.where}: photo {row.image} lies outside {data}: only photos inside are read here."
            )
        for place in places:
            if is_file(place):
                return place
        for place in places:
            near = listed(place.parent).get(place.name.casefold(), [])
            if len(near) == 1:
                return near[0]
            if near:
                raise InputError(
                    f"{row.where}: photo {row.image} could be {near[0].name} or {near[1].name} in"
                    f" {place.parent}; write the name as the file's is."
                )
        raise InputError(
            f"{row.where}: photo {row.image} is not in {data}; correct the name, add the photo or delete the row."
        )

    return find
