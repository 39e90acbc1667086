"""The learned map head of BAS (arXiv 2112.00580, 2309.12943) as a map method: m_c = σ(conv(F1))_c, one forward.

For its seeds the paper sums the maps over scales and flips, divides by the peak of each class, and then adds the CAM
of a separately trained classifier. This method gives the maps alone: scales are the caller's (`getam.maps.multiscale`),
and a CAM is made by the method "cam" with a network of the recipe "classifier".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from getam.attention.capture import frozen
from getam.errors import CaptureError
from getam.maps.base import Maps, class_slots
from getam.maps.scores import slot_scores


@torch.no_grad()
def bas(model: nn.Module, images: Tensor, classes: Sequence[Sequence[int]] | Tensor) -> Maps:
    """Maps of a network that has learned them; no gradients are needed.

    Args:
        model: a network with a method `learned_maps(images) → (maps (B,C,h,w) in [0,1], scores (B,C))`, such as the
            recipe "bas" trains.
        images: (B,3,H,W) as the network expects them, 0–255 for ours.
        classes: per-photo class lists [[3, 7], [1]], or multi-hot tags (B,C).

    Returns:
        `Maps` on the grid of F1, in (0,1).

    Raises:
        CaptureError: the network has no such head.
        InputError: bad classes.
    """
    learned: Any = getattr(model, "learned_maps", None)
    if not callable(learned):
        raise CaptureError(
            f"bas reads a learned map head, and {type(model).__name__} has none: train a network that has with "
            "--recipe bas"
        )
    with frozen(model):
        found, scores = learned(images)
    slots, valid = class_slots(classes, images.shape[0], scores.shape[1], scores.device)
    at = slots.clamp(min=0)[..., None, None].expand(-1, -1, *found.shape[2:])
    values = found.float().gather(1, at)
    picked = slot_scores(scores, slots)
    return Maps(
        values * valid[..., None, None], valid, slots, picked, "bas", (found.shape[2], found.shape[3])
    )
