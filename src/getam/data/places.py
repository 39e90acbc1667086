"""Files of this machine or of an object store, by path or URL: listed, read and written whole (fsspec, BSD-3).

A place is an absolute path or a URL such as `s3://bucket/photos`. Drivers of their own: s3fs for `s3://`, gcsfs for
`gs://`, adlfs for `abfs://`; `file://` is a path, `memory://` is of one process, for trying things out.
"""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from getam.data.photo_folder import PHOTO_SUFFIXES
from getam.errors import InputError
from getam.whole_files import PARTIAL, write_atomically

URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)  # two letters at least: C:/ is a disk
WHOLE = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory")
"""Stores in which a file appears when its writing ends; elsewhere it is written under another name, then renamed."""

DRIVERS = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
}
STAMPS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created")


@dataclass(frozen=True)
class Entry:
    """A file in a listing.

    Attributes:
        place: where it is.
        size: in bytes.
        stamp: changes when the file does: its size, and what the store says of its content, or else of its time.
    """

    place: str
    size: int
    stamp: str


def place_of(given: Path | str) -> str:
    """The place that somebody names; a path becomes absolute.

    Command lines give paths, in which the two slashes of a URL are one.

    >>> place_of(Path("s3://bucket/photos")), place_of("file:///data"), place_of("memory://a/")
    ('s3://bucket/photos', '/data', 'memory://a')
    """
    found = URL.fullmatch(str(given))
    if found is None or Path(given).exists():
        return os.path.abspath(given)
    scheme, rest = found[1].lower(), found[2].rstrip("/")
    return f"/{rest}" if scheme in ("file", "local") else f"{scheme}://{rest}"


def is_remote(place: str) -> bool:
    """Whether a place is no path of this machine.

    >>> is_remote("gs://bucket/a"), is_remote("/data/a")
    (True, False)
    """
    return URL.fullmatch(place) is not None and not os.path.isabs(place)


def inside(folder: str, name: str) -> str:
    """The place of a file in a folder, by its relative name.

    >>> inside("s3://bucket/photos", "farm/a.jpg")
    's3://bucket/photos/farm/a.jpg'
    """
    return f"{folder.rstrip('/')}/{name}"


def listing(folder: str) -> dict[str, Entry]:
    """All files of a folder and its subfolders, by relative name; hidden ones are left out. {} where there is none.

    One listing of the store, however many files there are: nothing is asked file by file.

    Raises:
        InputError: the store cannot be listed.
    """
    system, path = _opened(folder)
    path = system._strip_protocol(path).rstrip("/")
    try:
        found: dict[str, dict[str, Any]] = system.find(path, detail=True)
    except FileNotFoundError:
        return {}
    except Exception as error:  # every driver has its own
        raise InputError(
            f"{folder} cannot be listed ({_said(error)}): check the address and your access"
        ) from error
    names = {
        name: str(PurePosixPath(name).relative_to(path or "/")) for name in sorted(found) if name != path
    }
    return {
        short: Entry(inside(folder, short), int(found[name].get("size") or 0), _stamp(found[name]))
        for name, short in names.items()
        if not any(part.startswith(".") for part in PurePosixPath(short).parts)
    }


def list_photos(folder: str) -> dict[str, Entry]:
    """The photos in a `listing`, by suffix in any case.

    Raises:
        InputError: there is none.
    """
    photos = {n: e for n, e in listing(folder).items() if PurePosixPath(n).suffix.lower() in PHOTO_SUFFIXES}
    if not photos:
        raise InputError(
            f"{folder} holds no photo: files ending in {', '.join(PHOTO_SUFFIXES)} are looked for."
        )
    return photos


def stamp_of(path: Path) -> str:
    """The stamp of a file of this machine, as in a `listing`."""
    found = path.stat()
    return _stamp({"size": found.st_size, "mtime": found.st_mtime})


def exists(place: str) -> bool:
    """Whether there is a file."""
    if not is_remote(place):
        return os.path.isfile(place)
    system, path = _opened(place)
    return bool(system.isfile(path))


def read_bytes(place: str) -> bytes:
    """The content of a file.

    Raises:
        FileNotFoundError: there is none.
        OSError: as the store says.
    """
    if not is_remote(place):
        return Path(place).read_bytes()
    system, path = _opened(place)
    return bytes(system.cat_file(path))


def write_bytes(place: str, content: bytes) -> None:
    """Write a file so that a reader sees what was there before or all of the new content, never a part."""
    if not is_remote(place):
        write_atomically(Path(place), content)
        return
    system, path = _opened(place)
    if place.partition(":")[0] in WHOLE:
        system.pipe_file(path, content)
        return
    folder, _, _ = path.rpartition("/")
    system.makedirs(folder, exist_ok=True)
    partial = f"{folder}/.{secrets.token_hex(8)}{PARTIAL}"
    try:
        system.pipe_file(partial, content)
        system.mv(partial, path)
    except BaseException:
        if system.exists(partial):
            system.rm_file(partial)
        raise


def _opened(place: str) -> tuple[Any, str]:
    """The file system of a place, and the place's name in it."""
    import fsspec  # here, for most need no other files than those of this machine

    scheme = place.partition(":")[0] if is_remote(place) else "file"
    try:
        # listings of an earlier moment are of no use to who counts what is there now
        return fsspec.filesystem(scheme, **({} if scheme == "file" else {"use_listings_cache": False})), place
    except ImportError as error:
        package = DRIVERS.get(scheme)
        remedy = f"pip install {package}" if package else f"{error}"
        raise InputError(
            f"{place} needs {package or 'a driver of fsspec'}, which is not installed: {remedy}"
        ) from None
    except ValueError:
        raise InputError(
            f"{place}: nothing is known of addresses that begin with {scheme}: give a folder, or one of "
            f"{', '.join(DRIVERS)}"
        ) from None


def _stamp(found: dict[str, Any]) -> str:
    said = next((str(found[name]) for name in STAMPS if found.get(name)), "")
    return f"{found.get('size')} {said}"


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
