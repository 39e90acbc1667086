"""Attention rollout (Abnar & Zuidema 2020, arXiv 2005.00928): where information flows, whatever the class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from getam.attention.capture import Geometry, capture, geometry, global_calls
from getam.maps.base import Maps, class_slots
from getam.maps.scores import class_scores, slot_scores


@torch.no_grad()
def rollout(model: nn.Module, images: Tensor, classes: Sequence[Sequence[int]] | Tensor) -> Maps:
    """R = Π_ℓ ½(mean_H A^ℓ + I), read at the query row; the same map for every class of a photo.

    Args, result and errors as `methods.getam.getam`. Rows of a product need the row only: r ← ½(r Ā + r) from the
    last block down, so only N×N of one block at a time is made.
    """
    place = geometry(model, images.shape[-2], images.shape[-1])
    with capture(model, freeze=True) as tap:
        scores = class_scores(model, images)
    slots, valid = class_slots(classes, images.shape[0], scores.shape[1], scores.device)
    rows = place.rows if place.rows in ("cls", "cls+patches") else "patches"
    row = query_row(place, images.shape[0], scores.device)
    for call in reversed(global_calls(tap, place)):
        row = 0.5 * (row @ call.attention(slice(None)).mean(1) + row)
    values = row[:, 0, place.prefix :].view(-1, 1, *place.grid) * valid[..., None, None]
    return Maps(values, valid, slots, slot_scores(scores, slots), "rollout", place.grid, rows)


def query_row(place: Geometry, batch: int, device: torch.device) -> Tensor:
    """Which row of R is read, as weights (B,1,N): the class token's, the mean of the patches', or the mean of both."""
    row = torch.zeros(batch, 1, place.tokens, device=device)
    of_token = {"cls": 1.0, "cls+patches": 0.5}.get(place.rows, 0.0)
    row[..., 0] = of_token
    row[..., place.prefix :] += (1 - of_token) / (place.tokens - place.prefix)
    return row
