"""One network, several threads: hooks and flags for the thread that sets them, which others do not notice.

A module's hooks and flags belong to every thread that calls it, some settings of torch to the whole process. What
`getam` does to a network while it reads it goes through here.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import Context, copy_context
from threading import RLock, get_ident
from typing import Any

from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

_LOCK = RLock()  # a block abandoned half-way may be closed by the garbage collector at any moment
# Holders, what puts it back, and where: torch 2.15 lets a setting end only in the context that began it.
_HELD: dict[Hashable, tuple[int, AbstractContextManager[object], Context]] = {}


class Hooks(AbstractContextManager["Hooks"]):
    """Forward hooks for the calls of the thread that sets them; other threads pass by. Gone on exit."""

    def __init__(self) -> None:
        self._handles: list[Any] = []

    def before(self, module: nn.Module, hook: Callable[..., Any], *, with_kwargs: bool = False) -> None:
        """As `module.register_forward_pre_hook`."""
        with _LOCK:  # torch counts its handles without one
            self._handles.append(module.register_forward_pre_hook(_own(hook), with_kwargs=with_kwargs))

    def after(self, module: nn.Module, hook: Callable[..., Any], *, always_call: bool = False) -> None:
        """As `module.register_forward_hook`."""
        with _LOCK:
            self._handles.append(module.register_forward_hook(_own(hook), always_call=always_call))

    def __exit__(self, *_: object) -> None:
        with _LOCK:
            for handle in self._handles:
                handle.remove()


def _own(hook: Callable[..., Any]) -> Callable[..., Any]:
    thread = get_ident()
    return lambda *given: hook(*given) if get_ident() == thread else None


@contextmanager
def held(what: Hashable, setting: Callable[[], AbstractContextManager[object]]) -> Iterator[None]:
    """Run the block under a setting that all threads see: the first that holds `what` makes it, the last ends it."""
    with _LOCK:
        holders, made, where = _HELD.get(what) or (0, setting(), copy_context())
        if not holders:
            where.run(made.__enter__)
        _HELD[what] = holders + 1, made, where
    try:
        yield
    finally:
        with _LOCK:
            holders, made, where = _HELD.pop(what)
            if holders > 1:
                _HELD[what] = holders - 1, made, where
            else:
                where.run(made.__exit__, None, None, None)


class Switch:
    """A module's flag with another value for the threads that asked for it, as `if module.flag` sees it."""

    def __init__(self, before: bool, value: bool) -> None:
        self.before, self.value = before, value
        self.threads = Counter[int]()

    def __bool__(self) -> bool:
        return self.value if self.threads[get_ident()] else self.before


@contextmanager
def switched(modules: Iterable[nn.Module], flag: str, value: bool) -> Iterator[None]:
    """Run the block with `flag` of the modules that have it at `value`, for this thread alone."""
    thread, switches = get_ident(), list[tuple[nn.Module, Switch]]()
    with _LOCK:
        for module in modules:
            switch: Any = vars(module).get(flag, value)
            if switch is not value:
                if not isinstance(switch, Switch):
                    switch = Switch(switch, value)
                    setattr(module, flag, switch)
                switch.threads[thread] += 1
                switches.append((module, switch))
    try:
        yield
    finally:
        with _LOCK:
            for module, switch in switches:
                switch.threads[thread] -= 1
                if not any(switch.threads.values()):
                    setattr(module, flag, switch.before)


def uncompiled() -> AbstractContextManager[None]:
    """Run compiled models eagerly: a compiled graph has no modules and function calls left to listen to."""
    dynamo: Any = sys.modules.get("torch._dynamo")  # where it was never imported nothing is compiled
    if not hasattr(dynamo, "set_stance"):
        return nullcontext()
    return held("compiler", lambda: dynamo.set_stance("force_eager"))


def plain_kernel() -> AbstractContextManager[None]:
    """Compute attention with the kernel that has a second derivative: fused ones have none."""
    return held("kernel", lambda: sdpa_kernel(SDPBackend.MATH))
