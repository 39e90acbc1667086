"""The photos of a folder, with its subfolders, or of tars: which files they are, relative to what."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from PIL import features

from getam.data import heif, tars
from getam.errors import InputError

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm",
    *((".avif",) if features.check("avif") else ()),
    *((".jp2",) if features.check("jpg_2000") else ()),
    *(heif.SUFFIXES if heif.register() else ()),
)  # fmt: skip
"""What a folder is searched for, in any case (AVIF, JPEG 2000 and HEIC where they can be read); a photo named by itself
may have any suffix."""

RAW_SUFFIXES = (".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".rw2", ".raf", ".srw", ".pef")
"""Of cameras: what a TIFF reader finds in most of them is a preview of a few pixels."""

UNREAD_SUFFIXES = frozenset((*heif.SUFFIXES, *RAW_SUFFIXES, ".avif", ".jp2", ".jxl",
    ".dcm", ".svs", ".ndpi", ".czi", ".nd2", ".lif",
)) - frozenset(PHOTO_SUFFIXES)  # fmt: skip
"""Of photos too, of phones, cameras, clinics and microscopes, but nothing here reads them: they are named."""

PROTOCOL = "protocol.jsonl"
"""What verbs write beside their results: how they were made."""


def find_photos(path: Path | str, *, leave_out: Path | str | None = None) -> list[Path]:
    """The photo `path`, or every photo in the folder `path` and its subfolders, sorted; or those of tars, in order.

    Files are recognised by their suffix (`PHOTO_SUFFIXES`, in any case); see `find_files` for the folders that are
    searched. Results of an earlier call in a subfolder (masks or maps, beside a `PROTOCOL`) are no photos. A file named
    by itself is returned as it is; one that ends in .tar, or a pattern of such, is that of `getam.data.tars`. Raises
    `InputError` when `path` does not exist or the folder holds no photo.
    """
    return search_photos(path, leave_out=leave_out)[0]


def search_photos(path: Path | str, *, leave_out: Path | str | None = None) -> tuple[list[Path], list[Path]]:
    """What `find_photos` finds and, of a folder, what `unread_photos` does, by one search."""
    path = Path(path)
    if tars.names_tars(path):
        inside = [
            tar / name for tar in tars.tars_of(path) for name in tars.photos(tar, PHOTO_SUFFIXES).values()
        ]
        if not inside:
            raise InputError(
                f"{path} holds no photo: files KEY{{{','.join(PHOTO_SUFFIXES)}}} are looked for."
            )
        return inside, []
    if path.is_file():
        return [path], []
    if not path.is_dir():
        raise InputError(f"{path} does not exist: give a photo or a folder of photos.")
    found = _searched(path, (*PHOTO_SUFFIXES, *UNREAD_SUFFIXES), leave_out)
    photos = [file for file in found if file.suffix.lower() in PHOTO_SUFFIXES]
    unread = [file for file in found if file.suffix.lower() in UNREAD_SUFFIXES]
    if not photos:
        why = f"{path} holds no photo: files ending in {', '.join(PHOTO_SUFFIXES)} are looked for"
        raise InputError("; ".join([why, *left_out(unread)]) + ".")
    return photos, unread


def unread_photos(path: Path | str, *, leave_out: Path | str | None = None) -> list[Path]:
    """Photos of a folder that `find_photos` passes over, as nothing here reads them (`UNREAD_SUFFIXES`), sorted."""
    path = Path(path)
    return _searched(path, tuple(UNREAD_SUFFIXES), leave_out) if path.is_dir() else []


def left_out(unread: Sequence[Path]) -> list[str]:
    """What to say of these, one line; nothing of none."""
    if not unread:
        return []
    kinds = sorted({file.suffix.lower() for file in unread})
    many = f"{len(unread)} photos are" if len(unread) > 1 else "1 photo is"
    return [f"{many} left out, as nothing here reads {', '.join(kinds)} ({unread[0]}): {conversion(*kinds)}"]


def conversion(*suffixes: str) -> str:
    """What to do with photos of these `UNREAD_SUFFIXES`."""
    heic = any(suffix in heif.SUFFIXES for suffix in suffixes)
    return "convert to JPEG or PNG" + (", or for HEIC pip install pi-heif" if heic else "")


def _searched(folder: Path, suffixes: Sequence[str], leave_out: Path | str | None) -> list[Path]:
    """Files of a folder of photos, but those in results of an earlier call."""
    results = None if leave_out is None else Path(leave_out).resolve()
    return find_files(
        folder, suffixes, skip=lambda place: place.resolve() == results or (place / PROTOCOL).is_file()
    )


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
