"""Grad-CAM on the last features of any classifier (Selvaraju et al. 2017, arXiv 1610.02391)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from getam.maps.base import Maps
from getam.maps.methods.multi_layer import multi_layer_cam


def gradcam(
    model: nn.Module,
    images: Tensor,
    classes: Sequence[Sequence[int]] | Tensor,
    *,
    layers: Sequence[str] | None = None,
) -> Maps:
    """relu( Σ_d ᾱ_d F_d ), ᾱ_d = mean over positions of ∂s_c/∂F_d; F: the last map before pooling, or what the last
    attention of a transformer reads (timm: the output of the last block's `norm1`).

    The case weighting "pooled", aggregate "none" of `multi_layer.multi_layer_cam`; args and errors as there.
    """
    maps = multi_layer_cam(model, images, classes, layers=layers, weighting="pooled", aggregate="none")
    return replace(maps, method="gradcam")
