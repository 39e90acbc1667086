"""Saliency loss: what is not salient should be background (L_sal, optional)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.attention.calls import wide
from getam.losses.counts import divisor


def saliency_loss(logits: Tensor, saliency: Tensor, roi: Tensor) -> Tensor:
    """Binary cross-entropy between the background probability and 1 − S, over the pixels of the photo.

    Args:
        logits: (B,C+1,H,W), background first.
        saliency: (B,H,W) in [0,1].
        roi: (B,H,W) bool, True where the crop is real photo.

    Returns:
        Scalar; 0 with a graph when the region is empty.
    """
    logits = wide(logits)
    # p(bg) = σ(z₀ − logsumexp(z₁..)), so the logit form is exact and never takes log 0.
    margin = logits[:, 0] - logits[:, 1:].logsumexp(1)
    pixelwise = F.binary_cross_entropy_with_logits(margin, 1 - saliency.to(margin.dtype), reduction="none")
    return torch.where(roi, pixelwise, 0.0).sum() / divisor(roi.sum())
