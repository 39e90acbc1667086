"""A folder that appears whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from getam.errors import InputError


@contextmanager
def new_folder(out: Path, *, replace: bool = False) -> Iterator[Path]:
    """A hidden neighbour of `out`, which takes its place when the block ends well and is removed otherwise.

    Raises `InputError` where `out` exists and is no empty folder; with `replace`, where it is no folder.
    """
    if out.is_symlink() or out.is_file() or (not replace and out.is_dir() and any(out.iterdir())):
        raise InputError(f"{out} exists already: give another --out, or remove it.")
    out.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=".getam-", suffix=".partial", dir=out.parent))
    try:
        made = making / "made"
        made.mkdir()
        yield made
        before = making / "before"
        if out.is_dir():
            out.rename(before)
        try:
            made.rename(out)
        except OSError:
            if before.is_dir():
                before.rename(out)
            raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
