"""Files that are whole or not there, whatever stops the process: written aside, then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PARTIAL = ".partial"
"""Suffix of the hidden files that a killed process may leave behind where it was writing."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a hidden neighbour of `path`, then rename: a crash leaves the old file or the new one, whole."""
    with replacing(path) as file:
        file.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """As `write_atomically`, for what is written bit by bit: the file takes its place when the block ends well.

    The file is on the disk before the rename and the folder after it, so that a power cut leaves no empty file. The
    neighbour's name is short, however long the file's own is, and nobody else's, whoever writes it at the same time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{secrets.token_hex(8)}{PARTIAL}")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        raise_with_name(error, path, partial)
        raise


def append_line(path: Path, line: str) -> None:
    """Append to a text file; where the disk is full it is left as it was, without half a line."""
    content = f"{line}\n".encode()
    try:
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                while content:
                    content = content[file.write(content) :]
            except OSError:
                file.truncate(before)
                raise
    except OSError as error:
        raise_with_name(error, path)
        raise


def raise_with_name(error: BaseException, path: Path, partial: Path | None = None) -> None:
    """Raise what the system said, about writing `path`: of a full disk it does not say which file was being written.

    Returns where `error` is something else, or names another file than `partial`.
    """
    found: BaseException | None = error
    while isinstance(found, RuntimeError):
        found = found.__cause__ or found.__context__  # of torch's writer, after the system's own
    if isinstance(found, OSError) and found.errno is not None and found.filename in (None, str(partial)):
        raise OSError(found.errno, found.strerror, str(path)) from error


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows opens no folders, and keeps renames by itself
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
