"""SIPE's general semantic consistency (arXiv 2203.02909): maps of the classifier, and of the photo's own prototypes.

    cam_c = relu(A_c) / (max A_c + 1e-5),  cam_background = 1 − max_c cam_c
    L_GSC = mean | cam − IS / (max IS + 1e-5) |   over the background and all classes, and all positions

Absent classes are zero in both. Gradients flow into both: into the classifier by cam, into the side branches by IS.
"""

from __future__ import annotations

import torch
from torch import Tensor

from getam.maps.methods.is_cam import over_peak


def consistency_loss(cams: Tensor, specific: Tensor, own: Tensor, inside: Tensor | None = None) -> Tensor:
    """L_GSC of a batch.

    Args:
        cams: (B,C,h,w) in [0,1], as of `class_maps`, of all classes: what shows a class is not background.
        specific: (B,1+C,h,w) ≥ 0, image-specific maps, the background's first.
        own: (B,C) bool, the photos' own classes; others count as 0 in both.
        inside: (B,h,w) bool, false where a crop shows no photo: as 0 in both; None: it does everywhere.

    Returns:
        Scalar; 0 with a graph for an empty batch.
    """
    background = 1 - cams.amax(1, keepdim=True)
    there = torch.nn.functional.pad(own, (1, 0), value=True)[..., None, None].to(cams.dtype)
    if inside is not None:
        there = there * inside[:, None]
    difference = (torch.cat([background, cams], 1) * there - over_peak(specific * there)).abs()
    return difference.sum() / max(1, difference.numel())
