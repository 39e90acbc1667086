"""Progress on stderr: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from getam.engine.ranks import rank

PLAIN_EVERY_SECONDS = 15.0


class Advance(Protocol):
    """Call with the number of things done so far, and a short note such as a loss."""

    def __call__(self, done: int, note: str = "") -> None: ...


@contextmanager
def progress(what: str, total: int) -> Iterator[Advance]:
    """Show how far `what` is, out of `total`; the yielded function moves it. Of several processes the first shows."""
    if rank():
        yield lambda done, note="": None
        return
    if sys.stderr.isatty():
        columns = (  # without markup: a photo may be called a[/b]
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}", markup=False),
        )  # fmt: skip
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(what, total=total, note="")
            yield lambda done, note="": bar.update(task, completed=done, note=note)
        return
    began = said_at = time.monotonic()

    def plain(done: int, note: str = "") -> None:
        nonlocal said_at
        now = time.monotonic()
        if done >= total or now - said_at >= PLAIN_EVERY_SECONDS:
            said_at = now
            say(f"{what} {done}/{total} {now - began:.0f} s {note}".rstrip())

    yield plain


def say(line: str) -> None:
    """A line on stderr: stdout is for results. Of several processes the first speaks."""
    if rank() == 0:
        print(line, file=sys.stderr, flush=True)
