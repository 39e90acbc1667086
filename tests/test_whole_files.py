"""A file is the old one or the new one, whole, whatever stops the writing."""

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from getam.whole_files import append_line, replacing, write_atomically


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.txt", b"old")

    def write_half() -> None:
        with replacing(tmp_path / "a.txt") as file:
            file.write(b"n")
            file.flush()
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_half()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_is_on_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[str, str, int]] = []
    sync, replace = os.fsync, os.replace

    def watched_sync(number: int) -> None:
        about = os.fstat(number)
        done.append(("sync", "folder", 0) if stat.S_ISDIR(about.st_mode) else ("sync", "file", about.st_size))
        sync(number)

    def watched_replace(source: Path, target: Path) -> None:
        done.append(("rename", target.name, source.stat().st_size))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_sync)
    monkeypatch.setattr(os, "replace", watched_replace)
    write_atomically(tmp_path / "a.txt", b"12345")
    assert done == [("sync", "file", 5), ("rename", "a.txt", 5), ("sync", "folder", 0)]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.txt") as first:
        first.write(b"first")
        write_atomically(tmp_path / "a.txt", b"second")
    assert (tmp_path / "a.txt").read_bytes() == b"first"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_line_that_does_not_fit_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append_line(tmp_path / "a.txt", "first")

    class Full:
        """A file that takes three bytes, and then says that the disk is full."""

        def __init__(self, file: Any) -> None:
            self.file, self.taken = file, 0

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def tell(self) -> int:
            return int(self.file.tell())

        def truncate(self, size: int) -> None:
            self.file.truncate(size)

        def write(self, content: bytes) -> int:
            if self.taken:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.taken = 3
            return int(self.file.write(content[:3]))

    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *a, **k: Full(opened(path, *a, **k)))
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.txt'"):
        append_line(tmp_path / "a.txt", "second")
    monkeypatch.undo()
    assert (tmp_path / "a.txt").read_text() == "first\n"
