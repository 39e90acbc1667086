"""I2CRC (arXiv 2206.09554): relations within and between what is salient and what is not, in the class score map.

The features that are drawn to a centre are the class scores themselves. Photos of one class take part: only there does
saliency say whose pixels are salient.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.attention.calls import wide
from getam.labels.single_tag import single_tagged
from getam.losses.counts import divisor

EPSILON = 1e-5  # beside the sums of weights (reference)
LEAST = 1.0  # pixels' worth of either side, or there is nothing to compare: a crop may miss the object; ours


class RelationLosses(NamedTuple):
    """L_f and L_b ≥ 0, how far the scores stray from their centre within each side; L_d = c_b − c_f of the class."""

    foreground: Tensor
    background: Tensor
    between: Tensor


def saliency_relation_losses(
    score_map: Tensor, saliency: Tensor, roi: Tensor, tags: Tensor, known: Tensor | None = None
) -> RelationLosses:
    """L_f, L_b (class-agnostic, within a side) and L_d (class-specific, between them).

    With X the score map enlarged to the photo, s the saliency, and sums over the pixels of the photo:
    `c_f = Σ s X / (Σ s + ε)`, `L_f = mean_{n,k} Σ (s (X_k − c_fk))² / (Σ s + ε)`, c_b and L_b the same of 1 − s, and
    `L_d = mean_{n,k} (c_b − c_f)_k y_k`: an average over all C classes, of which only the photo's own counts. The
    square holds s as well (reference): what is half salient weighs a quarter above and a half below. Gradients pass
    through the centres.

    Args:
        score_map: X (B,C,h,w).
        saliency: s (B,H,W) in [0,1].
        roi: (B,H,W) bool, true where the crop is photo: padding is on neither side.
        tags: y (B,C) in {0,1}.
        known: (B,C) bool, false where nobody looked for the class; all are known if None. A photo with an unknown class
            may hold another object: it takes no part.

    Returns:
        Scalars, means over the photos n that take part: one tag, and a pixel's worth on either side. 0 with a graph
        where none does.
    """
    sides = [side * roi for side in (saliency.float(), 1 - saliency.float())]
    taking = single_tagged(tags, known)
    for side in sides:
        taking = taking & (side.sum((1, 2)) >= LEAST)
    chosen = wide(score_map)[taking]
    # of photos and classes; asked also where there are none
    count = divisor(torch.tensor(chosen.shape[0] * chosen.shape[1]))
    if not len(chosen):
        nothing = score_map.sum() * 0.0
        return RelationLosses(nothing, nothing, nothing)
    scores = F.interpolate(chosen, size=saliency.shape[-2:], mode="bilinear", align_corners=False).flatten(2)
    weights = [side[taking].flatten(1)[:, None] for side in sides]
    (centre_f, within_f), (centre_b, within_b) = (_centre(scores, weight) for weight in weights)
    between = (centre_b - centre_f) * tags[taking]
    return RelationLosses(within_f.sum() / count, within_b.sum() / count, between.sum() / count)


def _centre(scores: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean of scores (N,C,P) by weights (N,1,P), and how far they stray from it; both (N,C)."""
    total = weight.sum(2) + EPSILON
    centre = (weight * scores).sum(2) / total
    return centre, (weight * (scores - centre[:, :, None])).square().sum(2) / total
