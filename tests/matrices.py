"""The oracle of the maps: every attention matrix and its class gradient, materialised, by the paper's definition."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


class Softmaxes(TorchFunctionMode):
    """Keeps what `Tensor.softmax` gives to one query: the pooling attentions, which have no `attn_drop` to hook."""

    def __init__(self, kept: list[Tensor]) -> None:
        super().__init__()
        self.kept = kept

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func is torch.Tensor.softmax and output.ndim == 4 and output.shape[-2] == 1:
            self.kept.append(output)
        return output


def every_matrix(model: nn.Module, image: Tensor, c: int, pool: bool) -> tuple[list[Tensor], list[Tensor]]:
    """A and G = ∂s_c/∂A, (H,M,N) of every attention of one photo, fused attention off, in the order they ran."""
    kept: list[Tensor] = []
    hooks = []
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
        if isinstance(getattr(module, "attn_drop", None), nn.Dropout) and not pool:
            hooks.append(module.attn_drop.register_forward_hook(lambda _m, _i, out: kept.append(out)))
    with Softmaxes(kept if pool else []):
        scores = model(image)
    for hook in hooks:
        hook.remove()
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = True
    kept = [A for A in kept if A.ndim == 4]
    found = torch.autograd.grad(scores[0, c], kept, allow_unused=True)
    gradients = [torch.zeros_like(A) if G is None else G for A, G in zip(kept, found)]
    return [A.detach() for A in kept], gradients


def by_definition(A: list[Tensor], G: list[Tensor], rows: str, prefix: int, grid: tuple[int, int]) -> Tensor:
    """Σ over the later half of mean_H relu(G∘A) ∘ mean_H relu(G), where there is the row; over the patch columns."""
    patches = grid[0] * grid[1]
    total = torch.zeros(patches)
    start = 0 if rows == "pool" else len(A) // 2
    for attention, gradient in list(zip(A, G))[start:]:
        if attention.shape[0] != 1 or (rows == "cls" and attention.shape[-1] != prefix + patches):
            continue
        block = (gradient * attention).clamp(min=0)[0].mean(0) * gradient.clamp(min=0)[0].mean(0)
        row = block[prefix:].mean(0) if rows == "patches" else block[0]
        total += row[-patches:]
    return total.view(grid)
