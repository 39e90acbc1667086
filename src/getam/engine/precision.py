"""Half precision while training: autocast around the network's forward, a scale for the gradients of float16."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from lightning_fabric.plugins import Precision
from torch import Tensor

HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Autocast(Precision):
    """As Fabric's `MixedPrecision`, with three differences that two backward passes ask for.

    Photos go in as they are: in bfloat16 they would lose colours before they are normalised. A backward pass may go
    through the network's outputs without `fabric.backward`, as that of the maps does. Whoever calls that scales the
    loss with `scaler`.

    Attributes:
        scaler: of the loss in float16; None in bfloat16, whose range is that of float32.

    Args:
        precision: of `HALF`.
        kind: of device.
    """

    def __init__(self, precision: str, kind: str) -> None:
        self.kind, self.half = kind, HALF[precision]
        self.scaler = torch.amp.GradScaler(kind) if self.half == torch.float16 else None

    def forward_context(self) -> AbstractContextManager[Any]:
        """Autocast."""
        return torch.autocast(self.kind, dtype=self.half)

    def convert_output(self, data: Any) -> Any:
        """What the network gives, a tensor or a tuple, in float32 for losses and maps."""
        if isinstance(data, Tensor):
            return data.float() if data.dtype == self.half else data
        if isinstance(data, tuple):
            parts = [self.convert_output(part) for part in data]
            return type(data)(*parts) if hasattr(data, "_fields") else tuple(parts)
        return data

    def optimizer_step(self, optimizer: Any, **options: Any) -> Any:
        """A step with the gradients as they were before they were scaled; none where they are not finite."""
        if self.scaler is None:
            return super().optimizer_step(optimizer, **options)
        found = self.scaler.step(optimizer, **options)
        self.scaler.update()
        return found
