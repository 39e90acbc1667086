"""What a call costs: seconds, and the bytes of the tensors it holds at once."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

T = TypeVar("T")


class Seconds(NamedTuple):
    """What a call took: wall-clock, and CPU seconds of all threads, which other programs do not lengthen."""

    wall: float
    cpu: float


def timed(call: Callable[[], T]) -> tuple[T, Seconds]:
    """What the call gives, and what it took."""
    began, began_cpu = time.perf_counter(), time.process_time()
    found = call()
    return found, Seconds(time.perf_counter() - began, time.process_time() - began_cpu)


def peak_tensor_bytes(call: Callable[[], Any]) -> int:
    """The most bytes that the tensors made during the call take up at one time.

    What was there before (weights, the photo) does not count; nor does what an operator allocates inside itself or
    what is allocated outside of torch. Peak resident memory would hold all of it, but within one process it cannot be
    told apart from what earlier calls left in the allocator.
    """
    tally = _Tally()
    with tally:
        call()
    return tally.peak


class _Tally(TorchDispatchMode):
    """Follows every storage an operator makes from its birth to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {_address(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor) and _address(leaf) not in before:
                self._follow(leaf.untyped_storage())
        return found

    def _follow(self, storage: Any) -> None:
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._end, size)

    def _end(self, size: int) -> None:
        self.live -= size


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
