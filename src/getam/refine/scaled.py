"""PAMR at a fraction of the photo's size, between two normalisations: raw patch maps in, maps in [0,1] out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.refine.pamr import ITERATIONS, normalise_maps, pamr


def refine_maps(images: Tensor, maps: Tensor, *, scale: float = 1.0, iterations: int = ITERATIONS) -> Tensor:
    """Maps on any grid → PAMR at `scale` of the photo → maps at photo size, each divided by its own maximum.

    Args:
        images: (B,3,H,W) in 0–255.
        maps: (B,K,h,w) ≥ 0, of any magnitude: class gradients can be as small as 1e-8, so each map is brought to
            peak 1 before the epsilons of PAMR and of the final normalisation.
        scale: PAMR costs scale²; ½ loses thin edges only.
        iterations: of PAMR; 0 only enlarges.

    Returns:
        (B,K,H,W) float32 in [0,1]; a map that is zero everywhere stays zero.
    """
    if maps.shape[1] == 0:  # no photo of the batch has a tag
        return maps.new_zeros((maps.shape[0], 0, *images.shape[-2:]), dtype=torch.float32)
    small = images if scale == 1 else F.interpolate(images, scale_factor=scale, mode="area")
    refined = pamr(small, scale_to_peak(maps), iterations=iterations)
    if scale != 1:
        refined = F.interpolate(refined, size=images.shape[-2:], mode="bilinear", align_corners=True)
    return normalise_maps(refined)


def scale_to_peak(maps: Tensor) -> Tensor:
    """Divide each map (B,K,h,w) by its own peak; a map that is zero everywhere stays zero."""
    peak = maps.amax((2, 3), keepdim=True)
    return torch.where(peak > 0, maps / peak.clamp(min=torch.finfo(maps.dtype).tiny), 0.0)
