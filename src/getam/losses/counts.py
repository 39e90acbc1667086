"""What a mean over a batch is divided by, where the batch is dealt to several processes.

A process knows its own share of the pixels. Divided by their own counts, means of two shares do not average to the mean
of both; divided by the mean of the counts they do: ½ (a/n + b/n) = (a + b) / (n_a + n_b) for n = (n_a + n_b) / 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

_mean: ContextVar[tuple[Callable[[Tensor], Tensor], int] | None] = ContextVar(
    "mean over processes, and how many", default=None
)


@contextmanager
def counted_by(mean: Callable[[Tensor], Tensor], processes: int = 1) -> Iterator[None]:
    """While the block runs, counts are those of the whole batch: `mean` takes a count to its mean over the processes.

    All processes have to ask as often, in one order: a loss asks also where there is nothing to count.
    """
    token = _mean.set((mean, processes))
    try:
        yield
    finally:
        _mean.reset(token)


def divisor(count: Tensor, beside: int = 0) -> Tensor:
    """What a sum over that many things is divided by: the count, its mean over processes, and 1 where that is 0.

    Args:
        count: of this process, a scalar.
        beside: what is added to the count of the whole batch, as in Σ / (n + 1): each process adds its share of it.

    >>> import torch
    >>> with counted_by(lambda count: (count + 2) / 2, processes=2):
    ...     divisor(torch.tensor(6)), divisor(torch.tensor(6), beside=1)
    (tensor(4.), tensor(4.5000))
    """
    mean, processes = _mean.get() or (None, 1)
    counted = (count if mean is None else mean(count)) + (beside / processes if processes > 1 else beside)
    return counted.float().where(counted > 0, 1.0)
