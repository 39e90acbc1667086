"""Separate cross-entropy over foreground and over background pixels (L_fg, L_bg), and plain cross-entropy."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.attention.calls import wide
from getam.label_numbers import ignore_label
from getam.losses.counts import divisor


def foreground_background_loss(
    logits: Tensor, label: Tensor, known: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Cross-entropy over the pixels labelled 1..C, and over those labelled 0, each with its own mean.

    Args:
        logits: (B,C+1,H,W).
        label: (B,H,W) integer, 0 background, 1..C classes, 255 ignored (65535 beyond 254 classes).
        known: (B,C) bool, false where nobody looked for the class in the photo: its logit takes no part there, see
            `without_unknown`; all are known if None.

    Returns:
        (L_fg, L_bg) scalars; a set without pixels gives 0 with a graph, never NaN.
    """
    label = label.long()
    pixelwise = _cross_entropy(logits, label, known)
    background = label == 0
    foreground = (label != 0) & (label != ignore_label(logits.shape[1] - 1))
    return mean_over(pixelwise, foreground), mean_over(pixelwise, background)


def pixel_loss(
    logits: Tensor,
    label: Tensor,
    q: float = 0.0,
    known: Tensor | None = None,
    partial: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Mean over all decided pixels of the generalised cross-entropy (1 − p^q) / q; p: the label's probability.

    With q → 0 it is the cross-entropy; the larger q, the less is learned from pixels that the network contradicts, as
    wrong labels are (Zhang and Sabuncu, arXiv 1805.07836, equation 6). Shapes as above.

    Args:
        logits, label, known: as of `foreground_background_loss`.
        q: in [0,1].
        partial: classes (B,C) bool that may be in the photo, and pixels (B,H,W) bool that show it: of these the
            undecided ones count too, p the probability of background and those classes together (partial labels: Cour,
            Sapp and Taskar, JMLR 12, 2011).
    """
    label = label.long()
    pixelwise = _cross_entropy(logits, label, known)
    counted = label != ignore_label(logits.shape[1] - 1)
    if partial is not None:
        possible, shown = partial
        undecided = shown & ~counted
        pixelwise = torch.where(undecided, _among(logits, possible), pixelwise)
        counted = counted | undecided
    if q:
        pixelwise = -torch.expm1(-q * pixelwise) / q
    return mean_over(pixelwise, counted)


def _among(logits: Tensor, possible: Tensor) -> Tensor:
    """(B,H,W): −log of the probability of background and the possible classes (B,C)."""
    allowed = torch.cat([torch.ones_like(possible[:, :1]), possible], 1)[:, :, None, None]
    found = wide(logits).log_softmax(1)
    return -found.masked_fill(~allowed, torch.finfo(found.dtype).min).logsumexp(1)


def without_unknown(logits: Tensor, label: Tensor, known: Tensor) -> Tensor:
    """Logits (B,C+1,H,W), those of unknown classes so low that they have no probability and no gradient.

    A pixel that is called background, or another class, was not compared with a class that nobody looked for: that is
    no reason to think less of it. A pixel that is labelled as the class itself keeps it: somebody saw it there. `label`
    (B,H,W) int64 and `known` (B,C) are as in `foreground_background_loss`.
    """
    numbers = torch.arange(1, logits.shape[1], device=logits.device)
    hidden = ~known[:, :, None, None] & (numbers[None, :, None, None] != label[:, None])
    hidden = torch.cat([torch.zeros_like(hidden[:, :1]), hidden], 1)
    return logits.masked_fill(hidden, torch.finfo(logits.dtype).min)


def _cross_entropy(logits: Tensor, label: Tensor, known: Tensor | None) -> Tensor:
    """(B,H,W) at least float32, 0 where the label is undecided."""
    logits = wide(logits)
    if known is not None:
        logits = without_unknown(logits, label, known)
    return F.cross_entropy(logits, label, ignore_index=ignore_label(logits.shape[1] - 1), reduction="none")


def mean_over(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of the values where `chosen`, of the same shape; of none of them 0 with a graph."""
    return torch.where(chosen, values, 0.0).sum() / divisor(chosen.sum())
