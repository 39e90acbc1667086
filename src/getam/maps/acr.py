"""ACR's map: gradients of the last attentions, spread once along all of them (attention consistency regularisation).

The GETAM family with other choices, then affinity propagation: of the objective of ACR this file has nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from getam.capture import attentions, capture, frozen, geometry, global_calls, pools
from getam.maps.affinity import affinity_of
from getam.maps.base import Maps, class_slots
from getam.maps.getam import attribute, class_scores, require_gradients
from getam.refine.random_walk import ACR, random_walk

LAST = 2  # blocks that count by default: 10 and 11 of 12, the reference's setting for VOC


def acr(
    model: nn.Module,
    images: Tensor,
    classes: Sequence[Sequence[int]] | Tensor,
    *,
    coupling: str = "grad",
    start: int | None = None,
    rows: str | None = None,
) -> Maps:
    """v = relu( Σ_{ℓ ≥ start} M^ℓ )[query row]; v ← ( Σ_all ℓ mean_H A^ℓ[patches, patches] ) v, not normalised.

    Args:
        model, images, classes, rows: as `getam.maps.getam.getam`.
        coupling: as there; the reference's names are grad, grad_s, cam_grad, cam_grad_s. Its default is "grad".
        start: first block that counts in M; default: the last two. All blocks count in the propagation.

    Returns:
        `Maps` on the patch grid. The reference squashes photos to 384×384, adds the mirrored photo's map and brings
        each to [0,1]; that is `getam.maps.multiscale`'s work.

    Raises:
        CaptureError, InputError: as `getam`; and windowed or class-attention models have no such affinity.
    """
    require_gradients()
    place = geometry(model, images.shape[-2], images.shape[-1])
    if rows is not None:
        place = replace(place, rows=rows)
    if start is None and place.rows != "pool":
        start = max(0, sum(not pools(name) for name, _ in attentions(model)) - LAST)
    # From block 0: of attentions below `leaf_from` only shapes are kept, and the propagation reads them all.
    with torch.enable_grad(), frozen(model), capture(model, leaf_from=0) as tap:
        scores = class_scores(model, images)
    slots, valid = class_slots(classes, images.shape[0], scores.shape[1], scores.device)
    values = attribute(tap, scores, slots, place, coupling=coupling, start=start)
    calls = global_calls(tap, place)
    total = len(calls) * affinity_of(
        calls, place, symmetric=False
    )  # the reference sums, which is the mean, L times
    values = random_walk(values, total, walk=ACR)
    picked = scores.detach().float().gather(1, slots.clamp(min=0)) * valid
    return Maps(values, valid, slots, picked, f"acr[{coupling}]", place.grid, place.rows)
