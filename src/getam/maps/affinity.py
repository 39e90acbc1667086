"""How much patches attend to each other in a model, and maps carried along it: what ACR's and AD-CAM's maps share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from getam.capture import Call, Geometry, capture, global_calls
from getam.maps.base import Maps, class_slots, geometry_of, slot_scores
from getam.maps.getam import attribute, class_scores, require_gradients
from getam.refine.random_walk import attention_affinity

Spread = Callable[
    [Tensor, Sequence[Call], Geometry], Tensor
]  # values (B,K,h,w), attentions, where -> (B,K,h,w)


@torch.no_grad()
def model_affinity(model: nn.Module, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """`attention_affinity` of all blocks of one forward: (B,N,N) float32, symmetric, and the grid (h,w), N = h·w.

    Args:
        model: as `getam.maps.getam.getam` takes it; it is left as it was.
        images: (B,3,H,W), as the model takes them.

    Raises:
        CaptureError, InputError: as `getam.maps.getam.getam`; and windowed or class-attention models have none.
    """
    place = geometry_of(model, images)
    with capture(model, freeze=True) as tap:
        class_scores(model, images)
    return affinity_of(global_calls(tap, place), place), place.grid


@torch.no_grad()
def affinity_of(calls: Sequence[Call], place: Geometry, *, symmetric: bool = True) -> Tensor:
    """`attention_affinity` of captured self-attentions (`getam.capture.global_calls`), one matrix at a time."""
    matrices = (call.attention(slice(None)) for call in calls)
    return attention_affinity(matrices, place.prefix, symmetric=symmetric)


def spread_maps(
    model: nn.Module,
    images: Tensor,
    classes: Sequence[Sequence[int]] | Tensor,
    spread: Spread,
    method: str,
    *,
    coupling: str,
    start: int | None,
    rows: str | None,
) -> Maps:
    """GETAM's maps, then `spread` along the attentions of the same forward; args and errors as `getam.maps.getam`."""
    require_gradients()
    place = geometry_of(model, images, rows)
    # From block 0: of attentions below `leaf_from` only shapes are kept, and the spreading reads them all.
    with torch.enable_grad(), capture(model, leaf_from=0, freeze=True) as tap:
        scores = class_scores(model, images)
    slots, valid = class_slots(classes, images.shape[0], scores.shape[1], scores.device)
    values = attribute(tap, scores, slots, place, coupling=coupling, start=start)
    maps = Maps(values, valid, slots, slot_scores(scores, slots), method, place.grid, place.rows)
    return replace(maps, values=spread(values, global_calls(tap, place), place))
