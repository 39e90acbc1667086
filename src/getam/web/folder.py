"""The one folder whose photos the app shows: by their names in it, and never a file outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from getam.data.formats.registry import find_tags, read_tags
from getam.data.photo_files import photo_finder
from getam.data.photo_folder import find_photos
from getam.data.tags import TagTable
from getam.errors import InputError


@dataclass(frozen=True)
class PhotoFolder:
    """A folder as it was when the app started.

    Attributes:
        path: resolved.
        names: of its photos, paths in it with forward slashes, sorted; photos behind links that lead out are left out.
        table: its tags, where it has a file of them, or one was given.
        rows: the table's own words for a photo → its name.
    """

    path: Path
    names: tuple[str, ...]
    table: TagTable | None = None
    rows: Mapping[str, str] = field(default_factory=dict)

    def tags(self, name: str) -> tuple[str, ...] | None:
        """Of a photo; None where the table does not have it, or there is no table."""
        rows = () if self.table is None else self.table.rows
        return next((row.tags for row in rows if self.rows.get(row.image) == name), None)

    def names_of_rows(self) -> dict[str, str]:
        """The table's own words for a photo → what the photo is kept as: its name without the suffix."""
        return {image: PurePosixPath(name).with_suffix("").as_posix() for image, name in self.rows.items()}

    def file(self, name: str) -> Path:
        """The file of a photo.

        Args:
            name: as a page sends it, which is anything.

        Raises:
            InputError: no photo of the folder is called so; a file has become a link that leads out of the folder.
        """
        if name not in self.names:
            raise InputError(f"the folder has no photo {name!r}: choose one of its list")
        return inside(self.path, self.path / name)


def open_folder(path: Path, tags: Path | None = None) -> PhotoFolder:
    """The photos of a folder and, where there is a table, their tags.

    Args:
        path: searched with its subfolders.
        tags: as `getam train` takes them; None: a file in the folder that is called as tags are, if there is one.

    Raises:
        InputError: no folder, no photos in it, or tags that cannot be read.
    """
    if not path.is_dir():
        raise InputError(f"{path} does not exist or is no folder: give a folder of photos with --folder")
    root = path.resolve()
    files = [file for file in find_photos(root) if file.resolve().is_relative_to(root)]
    names = tuple(file.relative_to(root).as_posix() for file in files)
    found = tags or find_tags(root)
    if not found.is_file():  # a folder of photos per class is no table that could be corrected
        return PhotoFolder(root, names)
    table = read_tags(found)
    find = photo_finder(root, found, table.folders, inside=True)
    name_of = {file.resolve(): name for file, name in zip(files, names, strict=True)}
    rows = {row.image: name for row in table.rows if (name := name_of.get(find(row).resolve()))}
    return PhotoFolder(root, names, table, rows)


def inside(root: Path, file: Path) -> Path:
    """The file, links followed.

    Raises:
        InputError: it does not lie in `root`, or is no file.
    """
    real = file.resolve()
    if not real.is_relative_to(root.resolve()):
        raise InputError(f"{file.name} lies outside {root}: only photos inside are read here")
    if not real.is_file():
        raise InputError(f"{file.name} is no longer in {root}: choose another photo")
    return real
