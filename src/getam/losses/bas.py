"""BAS, background activation suppression (arXiv 2112.00580, 2309.12943): losses that train a map m ∈ (0,1) per class.

What a classifier still finds after the foreground m was erased from its features should be little (L_bas), the
foreground should be found (L_frg) and small (L_area). Each is a mean over photos; t is one tag of each photo.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from getam.losses.counts import divisor

EPSILON = 1e-8  # beside the activation that L_bas divides by (reference)


def erased_scores(high: nn.Module, features: Tensor, foreground: Tensor, targets: Tensor) -> Tensor:
    """S_bg = relu( GAP( high( F1 ∘ (1 − m) ) )_t ), with `high` frozen as it is now.

    Gradients pass through `high` to m alone: neither to its weights nor to F1. Its buffers are copies, so that the
    statistics of batch norms do not move. The ReLU is the extended paper's (IJCV).

    Args:
        high: features (B,D,h,w) → class score map (B,C,h',w').
        features: F1 (B,D,h,w).
        foreground: m (B,h,w) in [0,1].
        targets: t (B,) int64.

    Returns:
        (B,) ≥ 0.
    """
    state = {name: p.detach() for name, p in high.named_parameters()}
    state |= {name: buffer.clone() for name, buffer in high.named_buffers()}
    erased = functional_call(high, state, (features.detach() * (1 - foreground[:, None]),))
    return erased.mean((2, 3)).gather(1, targets[:, None])[:, 0].relu()


def suppression_loss(erased: Tensor, scores: Tensor, targets: Tensor) -> Tensor:
    """L_bas = mean S_bg / (S + 1e-8), S = relu(stopgrad(z_t)); photos with S_bg > S count as a constant 1.

    The constant is the extended paper's; the first one (CVPR) has 0. Neither gives those photos a gradient.

    Args:
        erased: S_bg (B,), see `erased_scores`.
        scores: z (B,C) class logits of the whole photo.
        targets: t (B,) int64.

    Returns:
        Scalar in [0,1]; 0 with a graph for an empty batch.

    >>> z, t = torch.tensor([[4.0], [4.0]]), torch.tensor([0, 0])
    >>> float(suppression_loss(torch.tensor([1.0, 9.0]), z, t))
    0.625
    """
    whole = scores.detach().gather(1, targets[:, None])[:, 0].relu()
    ratio = torch.where(erased > whole, 1.0, erased / (whole + EPSILON))
    return _mean_of_chosen(ratio)


def area_loss(foreground: Tensor) -> Tensor:
    """L_area = mean m over photos and positions, of m (B,h,w); 0 with a graph for an empty batch."""
    return _mean_of_chosen(foreground)


def foreground_loss(
    class_map: Tensor, foreground: Tensor, targets: Tensor, known: Tensor | None = None
) -> Tensor:
    """L_frg = CE( GAP( stopgrad(A) ∘ m ), t ): a softmax over the classes, as in the reference for tagged photos.

    Args:
        class_map: A (B,C,h',w') class score map of the whole photo.
        foreground: m (B,h,w); averaged down to A's grid where that is coarser.
        targets: t (B,) int64, of known classes.
        known: (B,C) bool, false where nobody looked for the class: it is left out of the softmax; all if None.

    Returns:
        Scalar; 0 with a graph for an empty batch.
    """
    height, width = class_map.shape[-2:]
    m = F.adaptive_avg_pool2d(foreground[:, None], (height, width))
    found = (class_map.detach() * m).mean((2, 3))
    if known is not None:
        found = found.masked_fill(~known, torch.finfo(found.dtype).min)
    return _mean_of_chosen(F.cross_entropy(found, targets, reduction="none"))


def tags_loss(scores: Tensor, tags: Tensor, known: Tensor | None = None) -> Tensor:
    """L_cls = mean_b Σ_{k present} −log( e^{z_k} / (e^{z_k} + Σ_{n absent} e^{z_n}) ): tags do not compete.

    Args:
        scores: z (B,C) logits.
        tags: (B,C) in {0,1}; photos without a tag add nothing.
        known: (B,C) bool, false where nobody looked for the class: it is neither present nor absent; all if None.

    Returns:
        Scalar; 0 with a graph for an empty batch.
    """
    present = tags > 0
    left_out = present if known is None else present | ~known
    absent = scores.masked_fill(left_out, torch.finfo(scores.dtype).min).logsumexp(1, keepdim=True)
    each = (F.softplus(absent - scores) * present).sum(1)
    return each.sum() / max(1, len(each))


def _mean_of_chosen(values: Tensor) -> Tensor:
    """Over photos of which not every process has as many, such as those with a tag."""
    return values.sum() / divisor(torch.tensor(values.numel()))
