"""Separate cross-entropy over foreground and over background pixels (L_fg, L_bg), and plain cross-entropy."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = 255


def foreground_background_loss(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy over the pixels labelled 1..C, and over those labelled 0, each with its own mean.

    Args:
        logits: (B,C+1,H,W).
        label: (B,H,W) integer, 0 background, 1..C classes, 255 ignored.

    Returns:
        (L_fg, L_bg) scalars; a set without pixels gives 0 with a graph, never NaN.
    """
    label = label.long()
    pixelwise = F.cross_entropy(logits.float(), label, ignore_index=IGNORE, reduction="none")
    background = label == 0
    foreground = (label != 0) & (label != IGNORE)
    return _mean_over(pixelwise, foreground), _mean_over(pixelwise, background)


def pixel_loss(logits: Tensor, label: Tensor, q: float = 0.0) -> Tensor:
    """Mean over all pixels that are not 255 of the generalised cross-entropy (1 − p^q) / q; p: the label's probability.

    With q → 0 it is the cross-entropy; the larger q, the less is learned from pixels that the network contradicts, as
    wrong labels are (Zhang and Sabuncu, arXiv 1805.07836, equation 6). Shapes as above.
    """
    pixelwise = F.cross_entropy(logits.float(), label.long(), ignore_index=IGNORE, reduction="none")
    if q:
        pixelwise = -torch.expm1(-q * pixelwise) / q
    return _mean_over(pixelwise, label != IGNORE)


def _mean_over(values: Tensor, chosen: Tensor) -> Tensor:
    return torch.where(chosen, values, 0.0).sum() / chosen.sum().clamp(min=1)
