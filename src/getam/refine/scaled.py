"""Refiners of photos at a fraction of the photo's size: raw patch maps in, maps in [0,1] at photo size out.

Dilations and standard deviations are pixels of photos of about 500, and cost grows with pixels: photos larger than that
are seen as their copy of 500, whatever the scale. Smaller ones are taken as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.photo_size import seen_size
from getam.refine.inputs import require_finite
from getam.refine.pamr import ITERATIONS, normalise_maps, pamr

ImageRefiner = Callable[[Tensor, Tensor], Tensor]  # photos (B,3,h,w), maps (B,K,·,·) -> maps (B,K,h,w)


def refine_maps(images: Tensor, maps: Tensor, *, scale: float = 1.0, iterations: int = ITERATIONS) -> Tensor:
    """`refine_at_scale` with PAMR; 0 `iterations` only enlarge."""
    return refine_at_scale(partial(pamr, iterations=iterations), images, maps, scale=scale)


def refine_at_scale(refiner: ImageRefiner, images: Tensor, maps: Tensor, *, scale: float = 1.0) -> Tensor:
    """Maps on any grid → `refiner` at `scale` of the photo → maps at photo size, each divided by its own maximum.

    The photo is averaged over areas (`shrunk`), the maps come back bilinearly (aligned corners). The division comes
    last: PAR lets maps grow by 1.01 per iteration.

    Args:
        refiner: as `pamr(images, maps)`; a chain of them is one too.
        images: (B,3,H,W), any dtype, in 0–255.
        maps: (B,K,h,w) ≥ 0, of any magnitude: class gradients can be as small as 1e-8, so each map is brought to
            peak 1 before the epsilons of the refiner and of the final normalisation.
        scale: the cost is that of scale² of the pixels; ½ loses thin edges only.

    Returns:
        (B,K,H,W) float32 in [0,1]; a map that is zero everywhere stays zero.

    Raises:
        InputError: maps that hold NaN or infinite values, or what the refiner says.
    """
    if maps.shape[1] == 0:  # no photo of the batch has a tag
        return maps.new_zeros((maps.shape[0], 0, *images.shape[-2:]), dtype=torch.float32)
    small = shrunk(images, scale)
    refined = refiner(small, scale_to_peak(maps.float()))
    if small is not images:
        refined = F.interpolate(refined, size=images.shape[-2:], mode="bilinear", align_corners=True)
    return normalise_maps(refined)


def shrunk(images: Tensor, scale: float = 1.0) -> Tensor:
    """Photos (B,C,H,W), or their saliency, as refiners see them: means over areas, float32; as given where that is all.

    >>> shrunk(torch.zeros(1, 3, 375, 500), 0.5).shape[-2:], shrunk(torch.zeros(1, 3, 1000, 3000)).shape[-2:]
    (torch.Size([187, 250]), torch.Size([167, 500]))
    """
    size = seen_size(images.shape[-2], images.shape[-1], scale)
    if size == tuple(images.shape[-2:]):
        return images
    return F.interpolate(images.float(), size=size, mode="area")


def scale_to_peak(maps: Tensor) -> Tensor:
    """Divide each map (B,K,h,w) by its own peak; a map that is zero everywhere stays zero.

    Raises:
        InputError: values that are not finite: a map of NaN has no peak, and would pass for one of zeros.
    """
    if maps.numel() == 0:
        return maps
    require_finite(maps=maps)
    peak = maps.amax((2, 3), keepdim=True)
    return maps / torch.where(peak > 0, peak, 1)
