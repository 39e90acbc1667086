"""MDBA (arXiv 2305.05154): what to believe of pseudo labels made from saliency, photo by photo and pixel by pixel.

What a network that has learned for a while contradicts is taken for noise.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.attention.calls import wide
from getam.label_numbers import ignore_label
from getam.losses.counts import divisor


def noise_threshold(progress: float, *, start: float, end: float, first: float, last: float) -> float | None:
    """T, above which the cross-entropy of a pixel says that its label is noise: linear, then constant; None before.

    >>> [noise_threshold(p, start=0.2, end=0.6, first=1.2, last=0.8) for p in (0.1, 0.2, 0.4, 0.9)]
    [None, 1.2, 1.0, 0.8]
    """
    if progress < start:
        return None
    share = min(1.0, (progress - start) / (end - start)) if end > start else 1.0
    return first + (last - first) * share


def progressive_noise_loss(
    logits: Tensor, label: Tensor, threshold: float | None, always: Sequence[int] = ()
) -> Tensor:
    """Σ CE_i · [CE_i ≤ T] / n over the n decided pixels: those that are dropped count in n (reference).

    Args:
        logits: (B,C+1,H,W).
        label: (B,H,W) integer, 0 background, 1..C classes, `ignore_label` undecided.
        threshold: T; None drops nothing.
        always: labels whose pixels are never dropped, as of classes that are learned late.

    Returns:
        Scalar; 0 with a graph where nothing is decided.
    """
    ignore, label = ignore_label(logits.shape[1] - 1), label.long()
    each = F.cross_entropy(wide(logits), label, ignore_index=ignore, reduction="none")
    if threshold is not None:
        believed = each.detach() <= threshold
        believed |= torch.isin(label, torch.tensor(list(always), dtype=label.dtype, device=label.device))
        each = torch.where(believed, each, 0.0)
    return each.sum() / divisor((label != ignore).sum())


def online_noise_filter(predicted: Tensor, label: Tensor, least: Tensor, ignore: int) -> Tensor:
    """Which photos' labels are believed: the IoU of predicted and labelled foreground is above τ of the photo.

    Where no photo of the batch has that, those above τ/2; where none has that either, all. The IoU is over decided
    pixels, and 0 where neither has any foreground.

    Args:
        predicted: (B,H,W) bool, foreground as the network sees it.
        label: (B,H,W) integer, 0 background.
        least: τ (B,).
        ignore: the label of undecided pixels.

    Returns:
        (B,) bool.

    >>> seen = torch.tensor([[[True, True]], [[True, True]]])
    >>> label = torch.tensor([[[7, 7]], [[7, 0]]])
    >>> online_noise_filter(seen, label, torch.tensor([0.6, 0.6]), 255).tolist()
    [True, False]
    """
    decided = label != ignore
    foreground, predicted = decided & (label != 0), decided & predicted
    shared = (foreground & predicted).flatten(1).sum(1)
    iou = shared / (foreground | predicted).flatten(1).sum(1).clamp(min=1)
    for share in (1.0, 0.5):
        kept = iou > share * least
        if kept.any():
            return kept
    return torch.ones_like(kept)
