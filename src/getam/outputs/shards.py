"""`--shard 3/16`: one of several processes that share a call's photos and know nothing of each other."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import wraps
from itertools import count
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from filelock import FileLock, Timeout

from getam.engine.ranks import rank, world
from getam.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

LOCK = ".lock"
PATIENCE = 30.0  # seconds: shards that start together pass one gate, one after the other
POLL_SECONDS = 0.2

logger = logging.getLogger(__name__)
_meetings = count()  # of this process with the others: they come to the same ones in the same order


@dataclass(frozen=True)
class Shard:
    """The `number`-th, from 1, of `count` processes at one call: every `count`-th photo is its.

    >>> Shard(2, 3).part("abcdefgh"), str(Shard(2, 3))
    ('beh', '2/3')
    """

    number: int
    count: int

    def part(self, things: Sequence[T]) -> Sequence[T]:
        """Its part of what all have in the same order."""
        return things[self.number - 1 :: self.count]

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def read_shard(text: str | None) -> Shard | None:
    """What `--shard` was given; None: the whole call.

    Raises:
        InputError: no such shard.

    >>> read_shard("3/16")
    Shard(number=3, count=16)
    """
    if text is None:
        return None
    form = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip(), re.ASCII)
    if form is None or not 1 <= int(form[1]) <= int(form[2]):
        raise InputError(
            f"--shard {text} is no shard: give its number, from 1, and how many there are, such as 3/16"
        )
    return Shard(int(form[1]), int(form[2]))


def of_shard(file: Path, shard: Shard | None) -> Path:
    """The file in which a shard has what the whole call has in `file`.

    >>> of_shard(Path("unfinished.jsonl"), Shard(3, 16)).name, of_shard(Path(".lock"), Shard(3, 16)).name
    ('unfinished-3-of-16.jsonl', '.lock-3-of-16')
    """
    return file if shard is None else file.with_stem(f"{file.stem}-{shard.number}-of-{shard.count}")


def of_all_shards(file: Path) -> list[Path]:
    """Those that are there, of the whole call and of its shards."""
    found = (file, *sorted(file.parent.glob(f"{file.stem}-*-of-*{file.suffix}")))
    return [each for each in found if each.is_file()]


def over_processes(verb: Callable[P, R]) -> Callable[P, R]:
    """A verb with an option `shard`, under torchrun too: each process is a shard, and the first then ends the call.

    Nothing but "I have done my part" passes between them, through the store that torchrun has for its processes. If
    one dies, torchrun ends the others; the same command goes on, with any number of processes.
    """

    @wraps(verb)
    def run(*args: P.args, **options: P.kwargs) -> R:
        if world() == 1 or options.get("shard") is not None:
            return verb(*args, **options)
        shard: Any = f"{rank() + 1}/{world()}"
        result = verb(*args, **{**options, "shard": shard})
        _meet()
        try:
            return verb(*args, **options) if rank() == 0 else result
        finally:
            _meet()  # also after photos that were skipped: what comes next finds everything made

    return run


def _meet() -> None:
    """Wait until all processes have come here. Through torchrun's store: no process group, which would time out."""
    from torch.distributed.rendezvous import rendezvous  # launched by it, there is torch

    store: Any = next(iter(rendezvous("env://")))[0]
    name = f"getam-{next(_meetings)}"
    store.add(name, 1)
    while store.add(name, 0) < world():
        time.sleep(POLL_SECONDS)


def hold(folder: Path, shard: Shard | None) -> ExitStack:
    """Keep other processes from the same work until the stack is closed, or the process ends, however it comes.

    The folder is made. A shard holds its own lock, the whole call all locks there are: no shard works beside it.

    Raises:
        InputError: another process is at it, or the folder is a file.
    """
    if folder.is_file():
        raise InputError(f"{folder} is a file: give a folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    held = ExitStack()
    with ExitStack() as failing:
        failing.callback(held.close)
        gate = _lock(
            held,
            folder / LOCK,
            f"{folder} is in use: the whole call is at work there",
            PATIENCE if shard else 0,
        )
        if shard is not None:
            own = of_shard(folder / LOCK, shard)
            _lock(held, own, f"{folder} is in use: another process is at shard {shard}")
            gate.release()
        else:
            for file in of_all_shards(folder / LOCK):
                if file != folder / LOCK:
                    part = file.name.removeprefix(f"{LOCK}-").replace("-of-", "/")
                    _lock(held, file, f"{folder} is in use: shard {part} is at work there")
                    held.callback(file.unlink, missing_ok=True)  # nobody opens it: the gate is ours
        failing.pop_all()
    return held


def _lock(held: ExitStack, file: Path, taken: str, patience: float = 0) -> FileLock:
    lock = FileLock(file, timeout=patience)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"{taken}; wait for it, or give another --out") from None
    except NotImplementedError:
        logger.warning(
            "%s: locks do not work there; see to it that no other process does the same", file.parent
        )
    held.callback(lock.release)
    return lock
