"""`--shard 3/16`: one of several processes that share a call's photos and know nothing of each other."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from itertools import count
from typing import Any, ParamSpec, TypeVar

from getam.engine.ranks import rank, world
from getam.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

POLL_SECONDS = 0.2
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
