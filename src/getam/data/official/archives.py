"""Archives of the official sets: what is needed of them, unpacked into a new folder and nowhere else."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from getam.errors import InputError


@dataclass(frozen=True)
class Archive:
    """One official file.

    Attributes:
        name: of the file.
        url: where its makers offer it.
        inside: a path that is there once it is unpacked, by which an unpacked folder is recognised.
        needed: folders or files inside, relative to where it is unpacked, that are used; the rest stays packed.
        md5: its checksum; None where none is known for certain.
    """

    name: str
    url: str
    inside: str
    needed: tuple[str, ...]
    md5: str | None = None

    def locate(self, folder: Path) -> Path | None:
        """The folder that holds `inside`, else the archive, else None."""
        if (folder / self.inside).exists():
            return folder
        return folder / self.name if (folder / self.name).is_file() else None


def what_to_fetch(missing: list[Archive], folder: Path) -> InputError:
    """What to download, from where, and where to put it, in one sentence."""
    files = ", ".join(
        f"{each.url} ({f'md5 {each.md5}' if each.md5 else 'checksum unverified'})" for each in missing
    )
    return InputError(
        f"{folder} lacks {', '.join(each.name for each in missing)}: fetch {files} into {folder}, or give --download."
    )


def unpack(archive: Path, into: Path, needed: tuple[str, ...]) -> None:
    """Unpack what lies below `needed` of a tar (packed or not) or zip.

    Raises `InputError`, before anything outside `into` could be touched, for a member with an absolute name or "..", a
    link or a device, and for a damaged archive.
    """

    def wanted(name: str) -> bool:
        path = PurePosixPath(name)
        return any(path.is_relative_to(each) for each in needed)

    try:
        (_unzip if archive.suffix == ".zip" else _untar)(archive, into, wanted)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(
            f"archive {archive} cannot be unpacked ({error}): it is damaged or incomplete; fetch it again."
        ) from error


def _untar(archive: Path, into: Path, wanted: Callable[[str], bool]) -> None:
    with tarfile.open(archive) as packed:
        for member in packed:
            _check_name(archive, member.name)
            if not (member.isreg() or member.isdir()):
                raise InputError(f"archive {archive}: {member.name} is a link or device: {_REMEDY}")
            if member.isreg() and wanted(str(PurePosixPath(member.name))):
                source = packed.extractfile(member)
                assert source is not None  # of a regular file
                target = into / PurePosixPath(member.name)
                target.parent.mkdir(parents=True, exist_ok=True)
                # `extract` would set owners and modes; its filter against that is missing before Python 3.11.4
                with source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)


def _unzip(archive: Path, into: Path, wanted: Callable[[str], bool]) -> None:
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            _check_name(archive, member.filename)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise InputError(f"archive {archive}: {member.filename} is a link or device: {_REMEDY}")
            if not member.is_dir() and wanted(member.filename):
                packed.extract(member, into)


_REMEDY = "the official archive has none; fetch it again from its makers."


def _check_name(archive: Path, name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[:1]:
        raise InputError(f"archive {archive}: {name} would be written outside of the folder: {_REMEDY}")


def bring(source: Path, place: Path) -> None:
    """Copy a file to a place whose folder is made when needed. Raises `InputError` where it is not there."""
    if not source.is_file():
        raise InputError(
            f"{source} does not exist: the archive or folder is incomplete; fetch or unpack it again."
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, place)
