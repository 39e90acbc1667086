"""Archives of official sets that are not there yet, fetched where the user asked for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from getam.data.official.archives import Archive
from getam.data.official.download import CHUNK, download
from getam.outputs.progress import say

SAY_EVERY = 256 * CHUNK


def fetch_missing(archives: Sequence[Archive], folder: Path) -> None:
    """Download into `folder` what is neither there nor unpacked there. Raises `InputError` where that fails."""
    for each in archives:
        if each.locate(folder) is not None:
            continue
        said = 0
        checked = "its md5 is checked" if each.md5 else "its makers give no checksum"
        say(f"fetching {each.url}; {checked}")

        def advance(done: int, name: str = each.name) -> None:
            nonlocal said
            if done >= said + SAY_EVERY:
                said = done
                say(f"{name}: {done / 1e9:.1f} GB")

        download(each.url, folder / each.name, each.md5, advance)
