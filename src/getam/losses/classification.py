"""Multilabel soft margin: tags against class scores (L_cls)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from getam.attention.calls import wide
from getam.losses.counts import divisor


def classification_loss(scores: Tensor, tags: Tensor, known: Tensor | None = None) -> Tensor:
    """L_cls = −mean_{b,c} [ y log σ(s) + (1 − y) log(1 − σ(s)) ], over the known (b,c).

    Args:
        scores: (B,C) logits.
        tags: (B,C) in {0,1}.
        known: (B,C) bool, false where nobody looked for the class: neither a yes nor a no; all are known if None.

    Returns:
        Scalar; 0 with a graph when the batch or the class list is empty, or nothing is known.
    """
    if scores.numel() == 0:
        return scores.sum() * 0.0
    scores = wide(scores)
    tags = tags.to(scores.dtype)
    if known is not None:
        each = F.binary_cross_entropy_with_logits(scores, tags, reduction="none")
        return each.masked_fill(~known, 0.0).sum() / divisor(known.sum())
    return F.multilabel_soft_margin_loss(scores, tags)
