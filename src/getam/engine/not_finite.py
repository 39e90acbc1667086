"""Where numbers stopped being finite: which module of a network, which gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all floating-point numbers are finite; asks the device once."""
    sums = [t.detach().sum(dtype=torch.float32) for t in tensors if t.is_floating_point()]
    return not sums or bool(torch.stack(sums).isfinite().all())


def first_bad_gradient(net: nn.Module) -> str | None:
    """Name of the first parameter whose gradient is not finite; None: all are."""
    return next(
        (name for name, p in net.named_parameters() if p.grad is not None and not all_finite([p.grad])), None
    )


def first_bad_output(net: nn.Module, forward: Callable[[], Any]) -> str | None:
    """Name of the module that was the first to give out what is not finite while `forward` ran; None: none did.

    Args:
        net: whose modules are watched.
        forward: what runs it; changes nothing else.
    """
    found: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(_: nn.Module, __: Any, output: Any) -> None:
            if not found and not all_finite(_tensors(output)):
                found.append(name)

        return look

    hooks = [module.register_forward_hook(watch(name)) for name, module in net.named_modules() if name]
    try:
        forward()
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None


def _tensors(output: Any) -> Iterable[Tensor]:
    """Those of what a module returns, however nested."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        yield from _tensors(tuple(output.values()))
    elif isinstance(output, list | tuple):
        for part in output:
            yield from _tensors(part)
