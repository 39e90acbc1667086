"""Class activation maps (Zhou et al. 2016, arXiv 1512.04150): the classifier's weights applied before its pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from getam.maps.base import Maps
from getam.maps.methods.multi_layer import multi_layer_cam


def cam(
    model: nn.Module,
    images: Tensor,
    classes: Sequence[Sequence[int]] | Tensor,
    *,
    layers: Sequence[str] | None = None,
) -> Maps:
    """relu( Σ_d w_cd F_d ), for models whose score is linear in the average of F: most convolutional classifiers.

    The case weighting "class", aggregate "none" of `multi_layer.multi_layer_cam`; args and errors as there.
    """
    maps = multi_layer_cam(model, images, classes, layers=layers, weighting="class", aggregate="none")
    return replace(maps, method="cam")
