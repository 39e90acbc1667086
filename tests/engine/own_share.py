"""Networks without what keeps several processes from being one, whatever their losses do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn


def without(net: Any) -> Any:
    """The network without what sees its own share only (batch norms) and what draws for it (dropout)."""
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
            elif isinstance(child, nn.Dropout):
                child.p = 0.0
    return net


def plain(config_type: Any) -> Any:
    """The same options, of such networks."""

    class Plain(config_type):
        def build(self, classes: Sequence[str]) -> Any:
            return without(super().build(classes))

    return Plain
