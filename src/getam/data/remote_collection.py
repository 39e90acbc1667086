"""Photos of an object store and their tags: what `load_collection` is for folders of this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from getam.data.class_map import ClassMap
from getam.data.collection import name_rows
from getam.data.formats.registry import OWN, read_tags
from getam.data.places import Entry, inside, is_remote, list_photos, place_of, read_bytes
from getam.data.tags import TagRow, TagTable
from getam.errors import InputError


@dataclass(frozen=True)
class RemotePhoto:
    """One photo and what is known about it.

    Attributes:
        name: path in the folder without the suffix: unique, and what its mask is called.
        photo: where it is.
        tags: names of classes.
        saliency: where its saliency map is.
    """

    name: str
    photo: Entry
    tags: tuple[str, ...]
    saliency: Entry | None = None


@dataclass(frozen=True)
class RemoteCollection:
    """Photos of an object store; paths and tags only, no pixels.

    Attributes:
        classes: without background.
        photos: in the order of the tags.
        notes: how the tags were understood, a line each.
    """

    classes: tuple[str, ...]
    photos: tuple[RemotePhoto, ...]
    notes: tuple[str, ...] = ()


def remote_collection(
    data: str,
    tags: Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    saliency: str | None = None,
    format: str | None = None,
    known: Sequence[str] = (),
    class_map: ClassMap | None = None,
) -> RemoteCollection:
    """List a folder of photos once and match it with its tags.

    Args:
        data: the folder, a URL.
        tags: a file of this machine or a URL; tags.csv in `data` when left out.
        saliency: a folder with one saliency map a photo, of the same name, any image suffix.
        classes, format, known, class_map: as of `load_collection`.

    Raises:
        InputError: no photos, no tags, a row whose photo is not there or could be two, a photo without a map.
    """
    place = place_of(tags) if tags is not None else inside(data, OWN)
    table = _tags_at(place, classes, format, known, class_map)
    rows = name_rows(place, table.rows, is_voc=False)
    if class_map is not None:
        class_map.require_found(table.written)
    found = _Finder(list_photos(data), data)
    maps = {} if saliency is None else _by_stem(list_photos(saliency))
    photos = []
    for name, row in rows.items():
        own = maps.get(name)
        if saliency is not None and own is None:
            raise InputError(f"photo {row.image} has no saliency map in {saliency}: add {name}.png there.")
        photos.append(RemotePhoto(name, found(row), row.tags, own))
    return RemoteCollection(table.classes, tuple(photos), table.notes)


def _tags_at(
    place: str,
    classes: Sequence[str] | None,
    format: str | None,
    known: Sequence[str],
    class_map: ClassMap | None,
) -> TagTable:
    """The tags of a file; messages name its own place, not that of the copy that is read."""
    if not is_remote(place):
        return read_tags(place, classes, format=format, known=known, class_map=class_map)
    try:
        content = read_bytes(place)
    except FileNotFoundError:
        raise InputError(f"{place} does not exist: say with --tags which file has the tags.") from None
    with TemporaryDirectory() as folder:
        copy = Path(folder) / PurePosixPath(place).name
        copy.write_bytes(content)
        try:
            table = read_tags(copy, classes, format=format, known=known, class_map=class_map)
        except InputError as error:
            raise InputError(str(error).replace(str(copy), place)) from None
    said = tuple(replace(row, where=row.where.replace(str(copy), place)) for row in table.rows)
    return replace(table, rows=said, notes=tuple(note.replace(str(copy), place) for note in table.notes))


class _Finder:
    """Row → photo of a listing: as the row spells it or, where only one fits, in another case or with its suffix."""

    def __init__(self, photos: Mapping[str, Entry], folder: str) -> None:
        self._photos, self._folder = photos, folder
        self._near: dict[str, list[str]] = {}
        for name in photos:
            for spelt in {name.casefold(), str(PurePosixPath(name).with_suffix("")).casefold()}:
                self._near.setdefault(spelt, []).append(name)

    def __call__(self, row: TagRow) -> Entry:
        if row.image in self._photos:
            return self._photos[row.image]
        near = self._near.get(row.image.casefold(), [])
        if len(near) > 1:
            raise InputError(
                f"{row.where}: photo {row.image} could be {near[0]} or {near[1]} in {self._folder}; write the name as "
                "the file's is."
            )
        if not near:
            raise InputError(
                f"{row.where}: photo {row.image} is not in {self._folder}; correct the name, add the photo or delete "
                "the row."
            )
        return self._photos[near[0]]


def _by_stem(files: Mapping[str, Entry]) -> dict[str, Entry]:
    return {str(PurePosixPath(name).with_suffix("")): entry for name, entry in files.items()}
