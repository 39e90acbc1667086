"""Scores of classes that share a softmax as scores of each against all others."""

from __future__ import annotations

import torch
from torch import Tensor


def log_odds(logits: Tensor) -> Tensor:
    """log p_c / (1 − p_c) of p = softmax of logits (B,K), K > 1: y_c − log Σ_{k≠c} exp y_k, without rounding p to 1.

    >>> log_odds(torch.tensor([[0.0, 0.0, 0.0]])).exp().tolist()  # one third against two
    [[0.5, 0.5, 0.5]]
    """
    own = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
    others = logits[:, None, :].masked_fill(own, -torch.inf).logsumexp(-1)
    return logits - others
