"""Files inside tar files, named `photos-000000.tar/key.jpg`: read where they lie, nothing is unpacked.

Tars are grouped as webdataset does it: what comes before the first dot of a file's name is its key, what comes after it
says what the file is, and files of one key belong together.
"""

from __future__ import annotations

import glob
import io
import itertools
import logging
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from getam.errors import InputError

TAR = ".tar"
PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
BLOCK = 512  # a tar's unit
SPECIAL = "{}*?["
KEPT = 4096  # tars whose contents are remembered
_RANGE = re.compile(r"(\d+)\.\.(\d+)")

logger = logging.getLogger(__name__)


class Member(NamedTuple):
    """Where a file lies in its tar, in bytes."""

    offset: int
    size: int


# Files, wherever they lie


def within(path: Path) -> tuple[Path, str] | None:
    """The tar and the name in it of a path that leads into one; None for all others."""
    if TAR in str(path).lower():
        for parent in path.parents:
            if parent.suffix.lower() == TAR and parent.is_file():
                return parent, path.relative_to(parent).as_posix()
    return None


def on_disk(path: Path) -> Path:
    """The file of the disk that a path leads to or into."""
    inside = within(path)
    return path if inside is None else inside[0]


def is_file(path: Path) -> bool:
    """Whether there is such a file, in a tar or not. Raises `InputError` for a tar that cannot be read."""
    if os.path.isfile(path):  # False for names that no file can have, which `Path.is_file` raises
        return True
    inside = within(path)
    return inside is not None and inside[1] in contents(inside[0])


def open_file(path: Path) -> io.BufferedReader | io.BytesIO:
    """A file for reading, in a tar or not.

    Raises:
        InputError: it is in a tar that cannot be read, or that has become shorter.
        FileNotFoundError: there is none.
    """
    inside = within(path)
    if inside is None:
        return path.open("rb")
    tar, name = inside
    place = contents(tar).get(name)
    if place is None:
        raise FileNotFoundError(2, "No such file", str(path))
    with tar.open("rb") as file:
        file.seek(place.offset)
        content = file.read(place.size)
    if len(content) < place.size:
        raise _damaged(tar, f"it ends inside {name}")
    return io.BytesIO(content)


# Which tars


def names_tars(path: Path | str) -> bool:
    """Whether a path names tars: one, or several by a pattern.

    >>> names_tars("photos-{000000..000009}.tar"), names_tars("data/*.tar"), names_tars("photos")
    (True, True, False)
    """
    return str(path).lower().endswith((TAR, *PACKED)) and not os.path.isdir(path)


def tars_of(path: Path | str) -> list[Path]:
    """The tars that a path or pattern names: in the order of `{..}`, those that fit `*` sorted.

    Raises:
        InputError: one is not there, or none fits.
    """
    if os.path.isfile(path):
        return [Path(path)]
    found: list[Path] = []
    for name in expanded(str(path)):
        fitting = sorted(map(Path, glob.glob(name))) if glob.has_magic(name) else [Path(name)]
        if not fitting or not all(file.is_file() for file in fitting):
            raise InputError(
                f"{name} does not exist: give a tar of photos, or several as 'photos-{{000000..000009}}.tar' or"
                " 'photos-*.tar', in quotes"
            )
        found += fitting
    return list(dict.fromkeys(found))


def expanded(pattern: str) -> list[str]:
    """All names of a pattern with `{a,b}` and `{first..last}`, which keeps leading zeros.

    >>> expanded("p-{08..10}.tar")
    ['p-08.tar', 'p-09.tar', 'p-10.tar']
    """
    parts = re.split(r"\{([^{}]*)\}", pattern)  # every second one was in braces
    choices = [_choices(part) if place % 2 else [part] for place, part in enumerate(parts)]
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def root_of(path: Path | str) -> Path:
    """The folder that names of photos in these tars are relative to: the last one before anything is special.

    >>> root_of("data/{train,val}/photos-*.tar").as_posix(), root_of("a.tar").as_posix()
    ('data', '.')
    """
    folder = Path(path).parent
    while not os.path.isfile(path) and any(letter in str(folder) for letter in SPECIAL):
        folder = folder.parent
    return folder


def without_tar(name: str) -> str:
    """A relative path into a tar as results are called: the tar is a folder.

    >>> without_tar("photos-000000.tar/key.jpg"), without_tar("farm/a.jpg")
    ('photos-000000/key.jpg', 'farm/a.jpg')
    """
    *folders, last = name.split("/")
    return "/".join([*(re.sub(r"(?i)(?<=.)\.tar$", "", folder) for folder in folders), last])


# What is in one


def contents(tar: Path) -> Mapping[str, Member]:
    """Name → place of all files of a tar, in its order; read once, and again when the tar changes.

    Raises:
        InputError: it is compressed, damaged, or has a file twice, a link, or a name that leads out of it.
    """
    found = tar.stat()
    return _contents(str(tar), found.st_mtime_ns, found.st_size)


def samples(tar: Path) -> dict[str, dict[str, str]]:
    """Key → kind of file, in small letters → name in the tar; hidden files and those without a kind are left out.

    Raises:
        InputError: as `contents`, or two files of one key are of one kind.
    """
    found: dict[str, dict[str, str]] = {}
    for name in contents(tar):
        folder, slash, last = name.rpartition("/")
        short, dot, kind = last.partition(".")
        if short and dot:
            own = found.setdefault(f"{folder}{slash}{short}", {})
            if kind.lower() in own:
                raise InputError(f"{tar} has both {own[kind.lower()]} and {name}: keep one of them")
            own[kind.lower()] = name
    return found


def photos(tar: Path, suffixes: Sequence[str]) -> dict[str, str]:
    """Key → name in the tar of each key's photo, in order; keys without one are left out.

    What looks like a photo and has a second dot in its name is said to be left out, where its key has no other.

    Args:
        tar: the file.
        suffixes: of photos, each with its dot.

    Raises:
        InputError: as `samples`, or a key has two photos.
    """
    found: dict[str, str] = {}
    dotted: list[str] = []
    for key, kinds in samples(tar).items():
        own = [name for kind, name in kinds.items() if f".{kind}" in suffixes]
        if len(own) > 1:
            raise InputError(f"{tar} has two photos called {key}, {own[0]} and {own[1]}: keep one of them")
        if own:
            found[key] = own[0]
        else:
            dotted += [name for name in kinds.values() if PurePosixPath(name).suffix.lower() in suffixes]
    if dotted:
        logger.warning(
            "%s: %d files such as %s are left out: a photo has one dot in its name",
            tar,
            len(dotted),
            dotted[0],
        )
    return found


@lru_cache(maxsize=KEPT)
def _contents(tar: str, changed: int, size: int) -> Mapping[str, Member]:
    found: dict[str, Member] = {}
    with open(tar, "rb") as file:
        begin = file.read(BLOCK)
        if packed := next((kind for magic, kind in MAGIC.items() if begin.startswith(magic)), None):
            raise InputError(
                f"{tar} is compressed ({packed}), and photos are read from the middle of it: unpack it to a plain tar"
            )
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode="r:", ignore_zeros=False) as archive:
                for name, member in _files(Path(tar), archive):
                    if name in found:
                        raise InputError(f"{tar} has {name} twice: write it anew with each file once")
                    found[name] = Member(member.offset_data, member.size)
                end = archive.offset
        except (tarfile.TarError, OSError, ValueError, EOFError) as error:
            raise _damaged(Path(tar), f"{error}") from error
        file.seek(end)  # Python takes a damaged header for the end, and the end of the file too
        if file.read(BLOCK) != bytes(BLOCK):
            raise _damaged(Path(tar), f"at byte {end} there is neither a file nor its end")
        if any(rest.strip(b"\0") for rest in iter(lambda: file.read(1 << 20), b"")):
            raise _damaged(Path(tar), "something follows its end, as where several tars were joined")
    return found


def _files(tar: Path, archive: tarfile.TarFile) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """Its files with their names, relative and inside."""
    for member in archive:
        name = PurePosixPath(member.name).as_posix()
        if member.isdir():
            continue
        if name.startswith("/") or ".." in name.split("/") or "\0" in name:
            raise InputError(f"{tar}: {member.name} leads out of it: write it anew with plain names")
        if not member.isreg() or member.issparse():
            raise InputError(
                f"{tar}: {member.name} is a link or no plain file: write it anew with the files themselves"
                " (tar --dereference)"
            )
        yield name, member


def _choices(inside: str) -> list[str]:
    if (ends := _RANGE.fullmatch(inside)) is None:
        return inside.split(",") if "," in inside else [f"{{{inside}}}"]
    first, last = int(ends[1]), int(ends[2])
    padded = any(text.startswith("0") and len(text) > 1 for text in ends.groups())
    width = max(map(len, ends.groups())) if padded else 0
    step = 1 if first <= last else -1
    return [f"{number:0{width}d}" for number in range(first, last + step, step)]


def _damaged(tar: Path, why: str) -> InputError:
    return InputError(f"{tar} is no tar, or it is damaged ({why.rstrip('.')}): copy or write it again")
