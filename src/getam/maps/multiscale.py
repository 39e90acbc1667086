"""The same maps at several photo sizes and mirrored, averaged: what labelling uses where one pass is too coarse."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.maps.base import Maps
from getam.refine.scaled import scale_to_peak


def multiscale(
    method: Callable[[Tensor], Maps], images: Tensor, sizes: Sequence[tuple[int, int]], *, flip: bool = False
) -> Tensor:
    """Mean over sizes (and flips) of maps brought to peak 1, at the largest patch grid.

    Args:
        method: photos (B,3,h,w) → `Maps`, with the same slots every time.
        images: (B,3,H,W).
        sizes: (h, w) the photos are resized to, each one pass.
        flip: also mirror each.

    Returns:
        (B,K,h,w) float32 in [0,1].
    """
    found = []
    for size in sizes:
        resized = F.interpolate(images, size=size, mode="bilinear", antialias=True)
        found.append(scale_to_peak(method(resized).values))
        if flip:
            found.append(scale_to_peak(method(resized.flip(-1)).values.flip(-1)))
    grid = max((m.shape[-2:] for m in found), key=lambda g: g[0] * g[1])
    same = [F.interpolate(m, size=grid, mode="bilinear", align_corners=True) for m in found]
    return torch.stack(same).mean(0)
