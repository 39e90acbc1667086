"""LayerCAM (Jiang et al., IEEE TIP 2021): positive gradients weight each position by itself, in shallow layers too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from getam.maps.base import Maps
from getam.maps.methods.multi_layer import multi_layer_cam


def layercam(
    model: nn.Module,
    images: Tensor,
    classes: Sequence[Sequence[int]] | Tensor,
    *,
    layers: Sequence[str] | None = None,
) -> Maps:
    """Maximum over layers of relu( Σ_d relu(G_d) ∘ F_d ), each brought to [0,1].

    The case weighting "positive", aggregate "max" of `multi_layer.multi_layer_cam`; args and errors
    as there. The paper scales the maps of shallow layers by tanh before it fuses them; here all are scaled alike.
    """
    maps = multi_layer_cam(model, images, classes, layers=layers, weighting="positive", aggregate="max")
    return replace(maps, method="layercam")
