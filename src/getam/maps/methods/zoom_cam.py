"""Zoom-CAM (Shi et al. 2020, arXiv 2010.08644): element-wise gradients of several layers, coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from getam.maps.base import Maps
from getam.maps.methods.multi_layer import multi_layer_cam


def zoom_cam(
    model: nn.Module,
    images: Tensor,
    classes: Sequence[Sequence[int]] | Tensor,
    *,
    layers: Sequence[str] | None = None,
) -> Maps:
    """Z_L = N(M_L), Z_ℓ = max(up(Z_ℓ+1), N(M_ℓ)), with M = relu( Σ_d G_d ∘ F_d ) and N(M) = (M − min M) / max M.

    The case weighting "elementwise", aggregate "max" of `multi_layer.multi_layer_cam`; args and errors as
    there. The reference reads all 13 convolutions of VGG-16; the default here is one layer per resolution, which any
    network has.
    """
    maps = multi_layer_cam(model, images, classes, layers=layers, weighting="elementwise", aggregate="max")
    return replace(maps, method="zoom-cam")
