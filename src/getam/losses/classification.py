"""Multilabel soft margin: tags against class scores (L_cls)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def classification_loss(scores: Tensor, tags: Tensor) -> Tensor:
    """L_cls = −mean_{b,c} [ y log σ(s) + (1 − y) log(1 − σ(s)) ].

    Args:
        scores: (B,C) logits.
        tags: (B,C) in {0,1}.

    Returns:
        Scalar; 0 with a graph when the batch or the class list is empty.
    """
    if scores.numel() == 0:
        return scores.sum() * 0.0
    return F.multilabel_soft_margin_loss(scores.float(), tags.float())
