"""UM-CAM's random-view consensus (arXiv 2306.11490, extended in Pattern Recognition 2025): soft labels, and two views
of a photo that should be segmented alike.

    sCE(q, b) = −(1 − b) log q̃_background − b log q̃_object          q̃ = 0.999 q + 5e-4
    L_con     = KL(q₁ ‖ q₂) + KL(q₂ ‖ q₁) = Σ_c (q₁ − q₂)(log q₁ − log q₂)

Both are means over the decided pixels of a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from getam.attention.calls import wide
from getam.label_numbers import ignore_label
from getam.losses.cross_entropy import mean_over, without_unknown

SHRUNK, RAISED = 0.999, 5e-4  # of probabilities before their logarithm (reference): it is at least −7.6


def soft_cross_entropy(
    logits: Tensor, label: Tensor, belief: Tensor, tags: Tensor, known: Tensor | None = None
) -> Tensor:
    """sCE with soft labels; `object` is the class of the label, and where that is background any of the photo's tags.

    For photos of one tag this is the reference's two-class cross-entropy.

    Args:
        logits: (B,C+1,H,W).
        label: (B,H,W) integer, 0 background, 1..C classes, `ignore_label` left out.
        belief: b (B,H,W) in [0,1], how much of the pixel is an object; 0 throughout photos without a tag.
        tags: (B,C) in {0,1}.
        known: (B,C) bool, false where nobody looked for the class: as in `cross_entropy.without_unknown`.

    Returns:
        Scalar; 0 with a graph where no pixel is decided.
    """
    label, classes = label.long(), logits.shape[1] - 1
    decided = label != ignore_label(classes)
    label = label.masked_fill(~decided, 0)
    q = _probabilities(logits, label, known)
    tagged = (q[:, 1:] * (tags > 0)[:, :, None, None]).sum(1)
    own = q.gather(1, label[:, None])[:, 0]
    found = torch.where(label > 0, own, tagged)
    each = -(1 - belief) * _squashed(q[:, 0]).log() - belief * _squashed(found).log()
    return mean_over(each, decided)


def consensus_loss(first: Tensor, second: Tensor, label: Tensor, known: Tensor | None = None) -> Tensor:
    """L_con of two predictions of the same pixels; both learn from it.

    Args:
        first, second: logits (B,C+1,H,W).
        label, known: as in `soft_cross_entropy`; pixels that are not decided are left out.

    Returns:
        Scalar ≥ 0; 0 with a graph where no pixel is decided.
    """
    label = label.long()
    decided = label != ignore_label(first.shape[1] - 1)
    logs = [_log_probabilities(logits, label, known) for logits in (first, second)]
    apart = (logs[0].exp() - logs[1].exp()) * (logs[0] - logs[1])
    return mean_over(apart.sum(1), decided)


def _squashed(q: Tensor) -> Tensor:
    return SHRUNK * q + RAISED


def _log_probabilities(logits: Tensor, label: Tensor, known: Tensor | None) -> Tensor:
    logits = wide(logits)
    return (logits if known is None else without_unknown(logits, label, known)).log_softmax(1)


def _probabilities(logits: Tensor, label: Tensor, known: Tensor | None) -> Tensor:
    return _log_probabilities(logits, label, known).exp()
