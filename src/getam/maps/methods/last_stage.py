"""Attention × gradient² in the last stage of windowed and multi-scale transformers: the coupling of GETAM, not GETAM.

Swin, MaxViT, CoAtNet, Twins, PVT v2 shrink their grid from stage to stage, and most of them attend in windows. No row
of theirs sees the patches of the photo in every block, which is what GETAM (arXiv 2112.02841) sums over. In their last
stage the windows are as wide as the grid: there each query sees every position, and the score is the mean over
positions. This map reads those attentions only, averaged over the query rows, on that coarse grid (7×7 at 224).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from getam.attention.capture import Call, Geometry, Tap, capture
from getam.errors import CaptureError
from getam.maps.base import Maps, class_slots
from getam.maps.methods.getam import attribute
from getam.maps.scores import class_scores, require_gradients, slot_scores


def last_stage(
    model: nn.Module,
    images: Tensor,
    classes: Sequence[Sequence[int]] | Tensor,
    *,
    coupling: str = "attn_grad2",
) -> Maps:
    """Σ over the attentions of the last stage of the coupled rows, averaged over the positions of its grid.

    Geometry: the grid is the photo divided by the stride of the model's last feature map (timm's `feature_info`),
    rounded up; all of the last attentions of the forward that are square over exactly those positions are read.

    Args, result and errors as `methods.getam.getam`; `rows` of the result is always "patches".

    Raises:
        CaptureError: the model does not name its last grid, or its last attention does not span it.
    """
    require_gradients(model)
    grid = last_grid(model, images.shape[-2], images.shape[-1])
    with torch.enable_grad(), capture(model, leaf_from=0, freeze=True) as tap:
        scores = class_scores(model, images)
    slots, valid = class_slots(classes, images.shape[0], scores.shape[1], scores.device)
    place = Geometry(0, grid, "patches", start=0)
    calls = _last_calls(tap, place, images.shape[0])
    values = attribute(Tap(calls), scores, slots, place, coupling=coupling)
    return Maps(values, valid, slots, slot_scores(scores, slots), f"last-stage[{coupling}]", grid, "patches")


def last_grid(model: nn.Module, height: int, width: int) -> tuple[int, int]:
    """(h, w) of the model's last feature map, as timm's `feature_info` gives its stride."""
    infos: list[Any] = [getattr(module, "feature_info", None) for module in model.modules()]
    info = next(filter(None, infos), None)  # the outermost answer counts, as in `getam.attention.geometry`
    if info is None:
        raise CaptureError(
            f"{type(model).__name__} does not name the stride of its last stage (feature_info)"
        )
    stride = int(info[-1]["reduction"])
    return ceil(height / stride), ceil(width / stride)


def _last_calls(tap: Tap, place: Geometry, batch: int) -> list[Call]:
    """The attentions at the end of the forward that are square over the whole of the last grid."""

    def spans(call: Call) -> bool:
        return call.queries == call.tokens == place.tokens and call.output.shape[0] == batch

    calls = list(takewhile(spans, reversed(tap.calls)))[::-1]
    if not calls:
        seen = f"{tap.calls[-1].queries}×{tap.calls[-1].tokens}" if tap.calls else "none that can be read"
        raise CaptureError(
            f"the last attention is {seen}, not {place.tokens}×{place.tokens} over the last grid of "
            f"{place.grid[0]}×{place.grid[1]}, as in models whose grid shrinks: --method getam reads those with the "
            "same tokens in every block, --method gradcam any"
        )
    return calls
