"""Refiners of photos at a fraction of the photo's size: raw patch maps in, maps in [0,1] at photo size out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.refine.pamr import ITERATIONS, normalise_maps, pamr

ImageRefiner = Callable[[Tensor, Tensor], Tensor]  # photos (B,3,h,w), maps (B,K,·,·) -> maps (B,K,h,w)


def refine_maps(images: Tensor, maps: Tensor, *, scale: float = 1.0, iterations: int = ITERATIONS) -> Tensor:
    """`refine_at_scale` with PAMR; 0 `iterations` only enlarge."""
    return refine_at_scale(partial(pamr, iterations=iterations), images, maps, scale=scale)


def refine_at_scale(refiner: ImageRefiner, images: Tensor, maps: Tensor, *, scale: float = 1.0) -> Tensor:
    """Maps on any grid → `refiner` at `scale` of the photo → maps at photo size, each divided by its own maximum.

    The photo is averaged over areas, the maps come back bilinearly (aligned corners). The division comes last: PAR lets
    maps grow by 1.01 per iteration.

    Args:
        refiner: as `pamr(images, maps)`; a chain of them is one too.
        images: (B,3,H,W) in 0–255.
        maps: (B,K,h,w) ≥ 0, of any magnitude: class gradients can be as small as 1e-8, so each map is brought to
            peak 1 before the epsilons of the refiner and of the final normalisation.
        scale: the cost is that of scale² of the pixels; ½ loses thin edges only.

    Returns:
        (B,K,H,W) float32 in [0,1]; a map that is zero everywhere stays zero.
    """
    if maps.shape[1] == 0:  # no photo of the batch has a tag
        return maps.new_zeros((maps.shape[0], 0, *images.shape[-2:]), dtype=torch.float32)
    refined = refiner(shrunk(images, scale), scale_to_peak(maps))
    if scale != 1:
        refined = F.interpolate(refined, size=images.shape[-2:], mode="bilinear", align_corners=True)
    return normalise_maps(refined)


def shrunk(images: Tensor, scale: float) -> Tensor:
    """Photos (B,3,H,W) at `scale` of their sides, rounded down but never to nothing: means over areas."""
    if scale == 1:
        return images
    height, width = (max(1, int(side * scale)) for side in images.shape[-2:])
    return F.interpolate(images, size=(height, width), mode="area")


def scale_to_peak(maps: Tensor) -> Tensor:
    """Divide each map (B,K,h,w) by its own peak; a map that is zero everywhere stays zero."""
    peak = maps.amax((2, 3), keepdim=True)
    return torch.where(peak > 0, maps / peak.clamp(min=torch.finfo(maps.dtype).tiny), 0.0)
