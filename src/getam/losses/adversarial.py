"""Adversarial alignment of outputs (MDBA, arXiv 2305.05154): masks that a discriminator takes for labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.attention.calls import wide
from getam.label_numbers import ignore_label
from getam.losses.cross_entropy import mean_over


def one_hot_label(label: Tensor, classes: int) -> Tensor:
    """A label map as the certain prediction of it: (B,C+1,H,W) float32 in {0,1}, 0 in all channels where undecided.

    Args:
        label: (B,H,W) integer, 0 background, 1..C classes, `ignore_label` undecided.
        classes: C.

    >>> one_hot_label(torch.tensor([[[1, 255]]]), 1).flatten(1).tolist()
    [[0.0, 0.0, 1.0, 0.0]]
    """
    decided = label != ignore_label(classes)
    hot = F.one_hot(torch.where(decided, label, 0).long(), classes + 1)
    return (hot * decided[..., None]).permute(0, 3, 1, 2).float()


def judgement_loss(judged: Tensor, where: Tensor, *, real: bool) -> Tensor:
    """Binary cross-entropy of a discriminator's judgement, a mean over the pixels that count.

    Args:
        judged: (B,H,W) logits that a pixel comes from a label and not from a network.
        where: (B,H,W) bool, the pixels that count.
        real: what it is asked to be judged as.

    Returns:
        Scalar; 0 with a graph where no pixel counts.
    """
    return mean_over(F.softplus(wide(-judged if real else judged)), where)
