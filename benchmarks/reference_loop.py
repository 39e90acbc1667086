"""GETAM as its definition reads: attention matrices kept, one backward through the batch per photo and class.

This is the procedure of the paper's section 2, written naively for comparison; nobody should use it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def kept_attention(model: nn.Module) -> Iterator[list[Tensor]]:
    """Fused attention off; the list fills with each block's (B,H,N,N) matrix, its gradient retained."""
    kept: list[Tensor] = []
    attentions: list[Any] = [
        m for m in model.modules() if hasattr(m, "fused_attn") and hasattr(m, "attn_drop")
    ]

    def keep(_module: nn.Module, _inputs: Any, matrix: Tensor) -> None:
        matrix.retain_grad()
        kept.append(matrix)

    hooks = [a.attn_drop.register_forward_hook(keep) for a in attentions]
    flags = [a.fused_attn for a in attentions]
    for attention in attentions:
        attention.fused_attn = False
    try:
        yield kept
    finally:
        for attention, flag, hook in zip(attentions, flags, hooks):
            attention.fused_attn = flag
            hook.remove()


def loop_maps(
    model: nn.Module, kept: Sequence[Tensor], scores: Tensor, classes: Sequence[Sequence[int]]
) -> list[Tensor]:
    """Maps (K,N−1) per photo, from the CLS row of Σ mean_H relu(G∘A) ∘ mean_H relu(G) over the second half.

    A full backward with parameter gradients per photo and class, through the graph of the whole batch.
    """
    found = []
    for photo, row in enumerate(classes):
        own = []
        for c in row:
            model.zero_grad()
            for matrix in kept:
                matrix.grad = None
            chosen = torch.zeros_like(scores)
            chosen[photo, c] = 1
            (scores * chosen).sum().backward(retain_graph=True)
            total = torch.zeros_like(kept[0][photo, 0].detach())
            for matrix in kept[len(kept) // 2 :]:
                gradient = matrix.grad
                if gradient is None:
                    raise SystemExit("an attention matrix got no gradient: the loop measures nothing")
                G, A = gradient[photo], matrix.detach()[photo]
                total = total + (G * A).relu().mean(0) * G.relu().mean(0)
            own.append(total.relu()[0, 1:])
        found.append(torch.stack(own) if own else scores.new_zeros(0))
    model.zero_grad()
    return found


def loop(model: nn.Module, images: Tensor, classes: Sequence[Sequence[int]]) -> list[Tensor]:
    """The maps of a batch, forward included."""
    with kept_attention(model) as kept:
        scores = model(images)
        return loop_maps(model, kept, scores, classes)
