"""UM-CAM (arXiv 2306.11490, MICCAI 2023): Grad-CAMs of several layers, weighted where each is certain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from getam.maps.base import Maps
from getam.maps.methods.multi_layer import multi_layer_cam


def um_cam(
    model: nn.Module,
    images: Tensor,
    classes: Sequence[Sequence[int]] | Tensor,
    *,
    layers: Sequence[str] | None = None,
) -> Maps:
    """min–max( Σ e^(−U_ℓ) M_ℓ / Σ e^(−U_ℓ) ), M_ℓ the min–max Grad-CAM of layer ℓ and U_ℓ its binary entropy.

    The case weighting "pooled", aggregate "uncertainty" of `multi_layer.multi_layer_cam`; args and errors as
    there. Which layers the reference reads is not published; the default here is one per resolution.
    """
    maps = multi_layer_cam(model, images, classes, layers=layers, weighting="pooled", aggregate="uncertainty")
    return replace(maps, method="um-cam")
