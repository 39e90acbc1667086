"""GETAM's maps carried along the attentions of the same forward: what ACR's and AD-CAM's maps share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from getam.attention.capture import Call, Geometry, capture, global_calls
from getam.maps.base import Maps, class_slots, geometry_of
from getam.maps.methods.getam import attribute
from getam.maps.scores import class_scores, require_gradients, slot_scores

Spread = Callable[
    [Tensor, Sequence[Call], Geometry], Tensor
]  # values (B,K,h,w), attentions, where -> (B,K,h,w)


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
    """GETAM's maps, then `spread` along the attentions of the same forward; args and errors as `methods.getam`."""
    require_gradients(model)
    place = geometry_of(model, images, rows)
    # From block 0: of attentions below `leaf_from` only shapes are kept, and the spreading reads them all.
    with torch.enable_grad(), capture(model, leaf_from=0, freeze=True) as tap:
        scores = class_scores(model, images)
    slots, valid = class_slots(classes, images.shape[0], scores.shape[1], scores.device)
    values = attribute(tap, scores, slots, place, coupling=coupling, start=start)
    maps = Maps(values, valid, slots, slot_scores(scores, slots), method, place.grid, place.rows)
    return replace(maps, values=spread(values, global_calls(tap, place), place))
