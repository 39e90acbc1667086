"""A bounded number of places, and dynamic batching: asyncio and threads only, no HTTP and no network."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

RECENT = 0.1  # weight of the last batch in the mean of seconds an item takes


class FullError(Exception):
    """No place is free."""


class Places:
    """How many requests may be inside at once: those that are read, decoded, waiting, computed and encoded.

    Attributes:
        limit: so many.
        taken: so many are.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a place for the block. Raises `FullError` where none is free."""
        if self.taken >= self.limit:
            raise FullError(f"all {self.limit} places are taken")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    async def in_thread(self, pool: Executor, function: Callable[..., R], *arguments: Any) -> R:
        """`function(*arguments)` in a thread of the pool.

        A thread cannot be stopped: where the caller is cancelled while it runs, a place stays taken until it is
        through, so that given up work is counted as long as it costs.
        """
        loop = asyncio.get_running_loop()
        running: Future[R] = pool.submit(function, *arguments)
        try:
            return await asyncio.wrap_future(running)
        except asyncio.CancelledError:
            if not running.cancel() and not running.done():
                self.taken += 1
                running.add_done_callback(lambda _: self._free_later(loop))
            raise

    def _free_later(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError):  # the loop is closed, and nobody counts any more
            loop.call_soon_threadsafe(self._free)

    def _free(self) -> None:
        self.taken -= 1


@dataclass
class _Waiting(Generic[T, R]):
    item: T
    key: Hashable
    answer: asyncio.Future[R] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batches(Generic[T, R]):
    """Runs what waits in batches, one at a time, in one thread: an item never waits for others to come.

    While a batch runs, items gather; the next batch is the one that has waited longest and those behind it of the
    same key. Each is given out once, in the order of their first items. What was cancelled meanwhile is left out.

    Args:
        run: items of one key → a result or an error for each, in order. What it raises itself goes to every item.
        largest: items in a batch at most.
        name: of the thread.

    Attributes:
        waiting: how many items are.
        seconds: how long an item has taken lately, its share of a batch.
        sizes: called with the number of items of each batch.
    """

    def __init__(
        self,
        run: Callable[[Sequence[T]], Sequence[R | Exception]],
        *,
        largest: int,
        name: str = "getam-network",
        sizes: Callable[[int], object] = lambda size: None,
    ) -> None:
        self._run, self._largest, self.sizes = run, largest, sizes
        self._line: deque[_Waiting[T, R]] = deque()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._work: asyncio.Task[None] | None = None
        self.seconds = 0.0

    @property
    def waiting(self) -> int:
        """How many items wait for their batch to begin."""
        return len(self._line)

    async def result(self, item: T, key: Hashable = None) -> R:
        """What `run` makes of the item. Raises what it has for it."""
        mine = _Waiting[T, R](item, key)
        self._line.append(mine)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._work_off())
        return await mine.answer

    async def close(self) -> None:
        """Wait until everything that came has its result, and end the thread."""
        while self._work is not None and not self._work.done():
            await self._work
        self._pool.shutdown()

    async def _work_off(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next():
            self.sizes(len(batch))
            begun = perf_counter()
            try:
                results = await loop.run_in_executor(self._pool, self._run, [each.item for each in batch])
            except Exception as error:
                results = [error] * len(batch)
            spent = (perf_counter() - begun) / len(batch)
            self.seconds = spent if not self.seconds else self.seconds + RECENT * (spent - self.seconds)
            for each, result in zip(batch, results, strict=True):
                if each.answer.done():
                    continue
                if isinstance(result, Exception):
                    each.answer.set_exception(result)
                else:
                    each.answer.set_result(result)

    def _next(self) -> list[_Waiting[T, R]]:
        """The first in line that still wants an answer, and those of its key; the others keep their order."""
        batch: list[_Waiting[T, R]] = []
        others: deque[_Waiting[T, R]] = deque()
        for each in self._line:
            if each.answer.done():
                continue
            fits = not batch or (each.key == batch[0].key and len(batch) < self._largest)
            (batch if fits else others).append(each)
        self._line = others
        return batch
