"""ECACL (arXiv 2104.09136): what a classifier learns from a second domain with a few labelled photos and many without.

Source photos come near the prototype of their class in the target, the mean of its labelled photos (L_proto); two views
of a photo without a label agree (L_con, FixMatch); and the entropy of such photos is a game between features and
classifier (minimax entropy, arXiv 1904.06487). They are functions of features and logits: any classifier's.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.losses.counts import divisor


def class_prototypes(features: Tensor, classes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The mean feature of each class, in whatever order its photos come.

    The reference reshapes photos sorted by class as if they were sorted by shot, and averages different classes where
    there is more than one shot.

    Args:
        features: (N,D).
        classes: (N,) int64, −1 for a photo that has no part.
        count: C.

    Returns:
        (C,D), 0 where a class has no photo, and which have one, (C,) bool.

    >>> class_prototypes(torch.tensor([[1.0], [5.0], [3.0]]), torch.tensor([1, 0, 1]), 3)[0].tolist()
    [[5.0], [2.0], [0.0]]
    """
    member = F.one_hot(classes.clamp(min=0), count).to(features.dtype) * (classes >= 0)[:, None]
    photos = member.sum(0)
    return member.T @ features / photos.clamp(min=1)[:, None], photos > 0


def prototype_alignment(source: Tensor, classes: Tensor, prototypes: Tensor, there: Tensor) -> Tensor:
    """L_proto = mean_i −log( exp(−‖f_i − p_y‖²) / Σ_c exp(−‖f_i − p_c‖²) ), over the classes that have a prototype.

    Args:
        source: f (N,D), normalised to length 1 as the prototypes' photos are.
        classes: y (N,) int64, −1 for a photo that has no part; so has one whose class has no prototype.
        prototypes: p (C,D).
        there: (C,) bool.

    Returns:
        Scalar; 0 with a graph where no photo has a part.
    """
    near = -(source[:, None] - prototypes[None]).square().sum(-1)
    near = near.masked_fill(~there, torch.finfo(near.dtype).min)
    chosen = (classes >= 0) & there[classes.clamp(min=0)]
    each = F.cross_entropy(near[chosen], classes[chosen], reduction="sum")
    return each / divisor(chosen.sum())


def masked_consistency(weak: Tensor, strong: Tensor, *, threshold: float, uniform: float = 0.0) -> Tensor:
    """L_con = mean_i [max p(weak_i) ≥ t]·( −log p_ŷ(strong_i) + u·mean_k −log p_k(strong_i) ), ŷ = argmax weak_i.

    The mean is over all photos, also those that are not sure enough; the second term keeps the first from certainty.

    Args:
        weak: (N,C) logits of the weakly augmented photos; no gradient reaches them.
        strong: (N,C) logits of the same photos, strongly augmented.
        threshold: t.
        uniform: u.

    Returns:
        Scalar; 0 with a graph for no photos.
    """
    sure, guess = weak.detach().softmax(1).max(1)
    log_p = strong.log_softmax(1)
    each = -log_p.gather(1, guess[:, None])[:, 0] - uniform * log_p.mean(1)
    return (each * (sure >= threshold)).sum() / max(1, len(weak))


def negative_entropy(logits: Tensor) -> Tensor:
    """mean_i Σ_k p_k log p_k of logits (N,C), p = softmax; 0 with a graph for no photos."""
    return (logits.softmax(1) * logits.log_softmax(1)).sum() / max(1, len(logits))


def reverse_gradient(features: Tensor) -> Tensor:
    """The same features; what comes after them learns as it would, what comes before them learns the opposite."""
    return _Reverse.apply(features)


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(_context: Any, features: Tensor) -> Tensor:
        return features.view_as(features)

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        return -gradients[0]
