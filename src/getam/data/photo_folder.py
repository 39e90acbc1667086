"""The photos of a folder, with its subfolders, or of tars: which files they are, relative to what."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from PIL import features

from getam.data import tars
from getam.errors import InputError

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm",
    *((".avif",) if features.check("avif") else ()),
)  # fmt: skip
"""What a folder is searched for, in any case (AVIF where Pillow's build reads it); a photo named by itself may have
any suffix."""

PROTOCOL = "protocol.jsonl"
"""What verbs write beside their results: how they were made."""


def find_photos(path: Path | str, *, leave_out: Path | str | None = None) -> list[Path]:
    """The photo `path`, or every photo in the folder `path` and its subfolders, sorted; or those of tars, in order.

    Files are recognised by their suffix (`PHOTO_SUFFIXES`, in any case); see `find_files` for the folders that are
    searched. Results of an earlier call in a subfolder (masks or maps, beside a `PROTOCOL`) are no photos. A file named
    by itself is returned as it is; one that ends in .tar, or a pattern of such, is that of `getam.data.tars`. Raises
    `InputError` when `path` does not exist or the folder holds no photo.
    """
    path = Path(path)
    if tars.names_tars(path):
        inside = [
            tar / name for tar in tars.tars_of(path) for name in tars.photos(tar, PHOTO_SUFFIXES).values()
        ]
        if not inside:
            raise InputError(
                f"{path} holds no photo: files KEY{{{','.join(PHOTO_SUFFIXES)}}} are looked for."
            )
        return inside
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path} does not exist: give a photo or a folder of photos.")
    left_out = None if leave_out is None else Path(leave_out).resolve()
    photos = find_files(
        path, PHOTO_SUFFIXES, skip=lambda place: place.resolve() == left_out or (place / PROTOCOL).is_file()
    )
    if not photos:
        raise InputError(
            f"{path} holds no photo: files ending in {', '.join(PHOTO_SUFFIXES)} are looked for."
        )
    return photos


def photo_root(photos: Path | str) -> Path:
    """The folder that the names of what `find_photos` finds are relative to."""
    path = Path(photos)
    return path if path.is_dir() else tars.root_of(path) if tars.names_tars(path) else path.parent


def path_in(root: Path, photo: Path) -> str:
    """Where a photo lies in its `photo_root`, with suffix and forward slashes; a tar is a folder there."""
    return tars.without_tar(photo.relative_to(root).as_posix())


def photo_names(files: list[Path], photos: Path) -> list[str]:
    """What each photo's results are called: its path in the folder, without the suffix."""
    root = photo_root(photos)
    return [PurePosixPath(path_in(root, file)).with_suffix("").as_posix() for file in files]


def find_files(
    folder: Path | str, suffixes: Sequence[str], *, skip: Callable[[Path], bool] = lambda place: False
) -> list[Path]:
    """The files of `folder` and its subfolders that end in one of `suffixes`, in any case, sorted.

    Hidden files and folders are passed over, and so are subfolders that `skip` says yes to. Links to folders are
    followed, but every folder is searched once, by its own name rather than by a link: links in a circle end.
    """
    folder = Path(folder)
    files: list[Path] = []
    searched: set[Path] = set()
    places, links = [folder], deque[Path]()
    while places or links:
        place = places.pop() if places else links.popleft()
        if (real := place.resolve()) in searched or (place != folder and skip(place)):
            continue
        searched.add(real)
        for found in sorted(place.iterdir()):
            if found.name.startswith("."):
                continue
            if found.is_dir():
                (links if found.is_symlink() else places).append(found)
            elif found.suffix.lower() in suffixes and found.is_file():
                files.append(found)
    return sorted(files)
