"""Gradient rollout: relevance propagated through attention ∘ gradient (Chefer et al. 2021, arXiv 2103.15679, eq. 5–6).

"Generic Attention-model Explainability", self-attention rule: rollout whose matrices are weighted by the gradient of
the class score, and are not normalised.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from getam.attention.capture import Call, Geometry, Tap, capture, geometry, global_calls
from getam.errors import CaptureError
from getam.maps.base import Maps, class_slots
from getam.maps.methods.rollout import query_row
from getam.maps.scores import class_scores, require_gradients, slot_gradients, slot_scores


def gradient_rollout(model: nn.Module, images: Tensor, classes: Sequence[Sequence[int]] | Tensor) -> Maps:
    """Ā^ℓ = mean_H relu(G^ℓ ∘ A^ℓ); R ← R + Ā^ℓ R from R = I, over all blocks; the query row of R − I.

    The query row is the class token's. Where patches are averaged it is the mean of their rows, where both are read
    the mean of both, and where an attention pools them the row that enters is that attention's own Ā (the paper's
    rule for cross-attention). Without normalisation the identity only adds what is on the diagonal: it is taken
    off, which the class token's row does not notice. As in `rollout` only the row is carried, r ← r + r Ā^ℓ from
    the last block down.

    Args, result and errors as `methods.getam.getam`. Memory: N×N of one block at a time, per head.
    """
    require_gradients(model)
    place = geometry(model, images.shape[-2], images.shape[-1])
    with torch.enable_grad(), capture(model, leaf_from=0, freeze=True) as tap:
        scores = class_scores(model, images)
    slots, valid = class_slots(classes, images.shape[0], scores.shape[1], scores.device)
    calls = global_calls(tap, place)
    pooling = _pooling(tap, place) if place.rows == "pool" else None
    outputs = [call.output for call in calls] + ([pooling.output] if pooling else [])
    values = torch.zeros(*slots.shape, *place.grid, device=scores.device)
    for k, found in slot_gradients(scores, slots, outputs):
        gradients = list(found)
        with torch.no_grad(), torch.autocast(scores.device.type, enabled=False):
            row = identity = query_row(place, len(images), scores.device)
            if pooling and (gradient := gradients.pop()) is not None:  # it may have left the prefix out
                row = F.pad(_coupled(pooling, gradient), (place.tokens - pooling.tokens, 0))
                identity = torch.zeros_like(row)
            for call, gradient in zip(reversed(calls), reversed(gradients)):
                if gradient is not None:
                    row = row + row @ _coupled(call, gradient)
        picked = (row - identity)[:, 0, place.prefix :] * valid[:, k, None]
        values[:, k] = picked.view(-1, *place.grid)
    return Maps(
        values,
        valid,
        slots,
        slot_scores(scores, slots),
        "gradient-rollout",
        place.grid,
        place.rows or "patches",
    )


def _coupled(call: Call, gradient: Tensor) -> Tensor:
    """Ā = mean_H relu(G ∘ A), (B,M,N)."""
    every = slice(None)
    return (call.attention(every) * call.gradient(gradient, every)).relu().mean(1)


def _pooling(tap: Tap, place: Geometry) -> Call:
    """The attention that pools the patches, with or without the prefix."""
    patches = place.grid[0] * place.grid[1]
    calls = [c for c in tap.calls if c.queries == 1 and c.tokens in (patches, place.tokens)]
    if not calls:
        raise CaptureError("the model pools by attention, but no attention of one query over its patches ran")
    return calls[-1]
