"""How much patches attend to each other in a model: the affinity that ACR, AFA's walk and AD-CAM spread maps along."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from getam.capture import Call, Geometry, capture, frozen, geometry, global_calls
from getam.maps.getam import class_scores
from getam.refine.random_walk import attention_affinity


@torch.no_grad()
def model_affinity(model: nn.Module, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """`attention_affinity` of all blocks of one forward: (B,N,N) float32, symmetric, and the grid (h,w), N = h·w.

    Args:
        model: as `getam.maps.getam.getam` takes it.
        images: (B,3,H,W), as the model takes them.

    Raises:
        CaptureError, InputError: as `getam.maps.getam.getam`.
    """
    place = geometry(model, images.shape[-2], images.shape[-1])
    with frozen(model), capture(model) as tap:
        class_scores(model, images)
    return affinity_of(global_calls(tap, place), place), place.grid


@torch.no_grad()
def affinity_of(calls: Sequence[Call], place: Geometry, *, symmetric: bool = True) -> Tensor:
    """`attention_affinity` of captured self-attentions (`getam.capture.global_calls`), one matrix at a time."""
    matrices = (call.attention(slice(None)) for call in calls)
    return attention_affinity(matrices, place.prefix, symmetric=symmetric)
