"""What a mean over a batch is divided by, where the batch is dealt to several processes.

A process knows its own share of the pixels. Divided by their own counts, means of two shares do not average to the mean
of both; divided by the mean of the counts they do: ½ (a/n + b/n) = (a + b) / (n_a + n_b) for n = (n_a + n_b) / 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

_mean: ContextVar[Callable[[Tensor], Tensor] | None] = ContextVar("mean over processes", default=None)


@contextmanager
def counted_by(mean: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While the block runs, counts are those of the whole batch: `mean` takes a count to its mean over processes.

    All processes have to ask as often, in one order: losses that some of them may leave out count their own.
    """
    token = _mean.set(mean)
    try:
        yield
    finally:
        _mean.reset(token)


def divisor(count: Tensor) -> Tensor:
    """What a sum over that many things is divided by: the count, its mean over processes, and 1 where that is 0.

    >>> import torch
    >>> with counted_by(lambda count: (count + 2) / 2):
    ...     divisor(torch.tensor(6))
    tensor(4.)
    """
    mean = _mean.get()
    counted = count if mean is None else mean(count)
    return counted.float().where(counted > 0, 1.0)
