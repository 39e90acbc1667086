"""Read what comes next and write what is done while the model works, in threads: Pillow and torch release the GIL."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from getam.errors import InputError

T = TypeVar("T")
R = TypeVar("R")

READERS = 2  # decoding a photo of a phone takes about as long as a small model does on it
AHEAD = 3  # photos read before their turn, and masks waiting to be written: memory stays flat


def read_ahead(
    items: Iterable[T],
    read: Callable[[T], R],
    *,
    ahead: int = AHEAD,
    skip: Callable[[T, InputError], None] | None = None,
) -> Iterator[tuple[T, R]]:
    """(item, read(item)) in order, with up to `ahead` further items read meanwhile.

    What `read` raises is raised when the turn of its item comes, after all items before it were given out; nothing
    beyond what was begun is read after that. With `skip`, items that raise `InputError` go there instead, at their
    turn, and the reading goes on.

    >>> list(read_ahead(["a", "b"], str.upper))
    [('a', 'A'), ('b', 'B')]
    """
    coming: deque[tuple[T, Future[R]]] = deque()
    pool = ThreadPoolExecutor(READERS, thread_name_prefix="getam-read")

    def due() -> Iterator[tuple[T, R]]:
        item, found = coming.popleft()
        try:
            yield item, found.result()
        except InputError as error:
            if skip is None:
                raise
            skip(item, error)

    try:
        for item in items:
            coming.append((item, pool.submit(read, item)))
            if len(coming) > ahead:
                yield from due()
        while coming:
            yield from due()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def write_behind(*, ahead: int = AHEAD) -> Iterator[Callable[..., None]]:
    """Yield `submit(write, *arguments)`: the calls run one after the other beside the block, all before it ends.

    A call waits where `ahead` others do. What a write raises is raised by a later `submit`, or at the end of the
    block. If the block itself raises, what was submitted is still written.
    """
    waiting: deque[Future[Any]] = deque()
    pool = ThreadPoolExecutor(1, thread_name_prefix="getam-write")

    def submit(write: Callable[..., None], *arguments: Any) -> None:
        while waiting and (waiting[0].done() or len(waiting) >= ahead):
            waiting.popleft().result()
        waiting.append(pool.submit(write, *arguments))

    try:
        yield submit
        while waiting:
            waiting.popleft().result()
    finally:
        pool.shutdown()
