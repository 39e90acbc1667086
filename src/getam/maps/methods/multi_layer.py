"""Multi-layer class activation maps: CAM, Grad-CAM, LayerCAM, Zoom-CAM and UM-CAM are one formula with two choices.

With F_ℓ the features of layer ℓ (B,D,h,w) and G_ℓ = ∂s_c/∂F_ℓ, a layer's map is M_ℓ = relu( Σ_d W_ℓd ∘ F_ℓd ); the
*weighting* says what W is made of G, and the *aggregate* how the layers become one map:

| weighting   | W                    | known as                                                                  |
|-------------|----------------------|---------------------------------------------------------------------------|
| class       | Σ_p G, G constant    | CAM (Zhou et al. 2016, arXiv 1512.04150): the classifier's own weights    |
| pooled      | mean_p G             | Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391)                        |
| elementwise | G                    | Zoom-CAM (Shi et al. 2020, arXiv 2010.08644); one layer: HiResCAM         |
| positive    | relu(G)              | LayerCAM (Jiang et al. 2021)                                              |

| aggregate   | map                                                                                              |
|-------------|--------------------------------------------------------------------------------------------------|
| none        | M of the one layer as it is                                                                      |
| max         | Zoom-CAM, coarse to fine: Z_L = N(M_L); Z_ℓ = max(up(Z_ℓ+1), N(M_ℓ)); N(M) = (M − min M) / max M |
| uncertainty | UM-CAM (arXiv 2306.11490): Σ e^(−U_ℓ) M_ℓ / Σ e^(−U_ℓ), U the binary entropy of min–max M_ℓ      |
| mean        | the mean of the min–max M_ℓ                                                                      |

`up` is bilinear with pixel centres aligned, to the finest grid of the layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from getam.attention.calls import wide
from getam.attention.capture import frozen
from getam.errors import CaptureError, InputError
from getam.maps.base import Maps, class_slots
from getam.maps.features import default_layers, feature_taps, last_layer, on_grid
from getam.maps.scores import class_scores, require_gradients, slot_gradients, slot_scores
from getam.registry import find

EPSILON = 1e-6  # e of UM-CAM's entropy and of its weighted mean
CONSTANT = (
    1e-3  # CAM: how far a gradient may stray from its mean over positions, relative to its largest value
)


def multi_layer_cam(
    model: nn.Module,
    images: Tensor,
    classes: Sequence[Sequence[int]] | Tensor,
    *,
    layers: Sequence[str] | None = None,
    weighting: str = "elementwise",
    aggregate: str = "max",
) -> Maps:
    """Class activation maps of any convolutional network or vision transformer, from one layer or several.

    Args:
        model: a classifier of timm, torchvision or your own, or a network of ours. It is left exactly as it was.
        images: (B,3,H,W) float, as the model takes them.
        classes: per-photo class lists [[3, 7], [1]], or multi-hot tags (B,C).
        layers: dotted module names; modules that attend are read at their input. Default: the last layer for the
            aggregate "none", else one per resolution of a convolutional network and one per quarter of the depth of a
            transformer. Shallow layers are noisy: name deeper ones where that shows.
        weighting: a name in `WEIGHTINGS`.
        aggregate: a name in `AGGREGATES`.

    Returns:
        `Maps` on the finest grid of the layers, in [0,1] unless the aggregate is "none".

    Raises:
        CaptureError: under `torch.inference_mode`; a layer holds no features over a grid, or the score does not
            depend on it; the weighting is "class" and the gradient is not the same at every position.
        InputError: bad classes, layers, weighting or aggregate.
    """
    require_gradients(model)
    weight = find("weighting", weighting, WEIGHTINGS)
    combine = find("aggregate", aggregate, AGGREGATES)
    if layers is None:
        layers = [last_layer(model, images)] if aggregate == "none" else default_layers(model, images)
    if not layers or (aggregate == "none" and len(layers) > 1):
        raise InputError(
            f"{len(layers)} layers were given: aggregate 'none' takes one, the others at least one"
        )
    with torch.enable_grad(), frozen(model), feature_taps(model, layers) as taps:
        scores = class_scores(model, images)
    slots, valid = class_slots(classes, images.shape[0], scores.shape[1], scores.device)
    features = [on_grid(taps[layer], model, images, layer) for layer in layers]
    grid = max(((f.shape[2], f.shape[3]) for f in features), key=lambda g: g[0] * g[1])
    values = torch.zeros(*slots.shape, *grid, device=scores.device)
    tapped = [taps[layer] for layer in layers]
    if not scores.requires_grad:
        raise CaptureError(f"the class score does not depend on {layers[0]}: name another layer")
    for k, gradients in slot_gradients(scores, slots, tapped):
        found = []
        for layer, feature, gradient in zip(layers, features, gradients):
            if gradient is None:
                raise CaptureError(f"the class score does not depend on {layer}: name another layer")
            weights = weight(on_grid(wide(gradient), model, images, layer))
            found.append((wide(feature) * weights).sum(1, keepdim=True).relu())
        values[:, k] = combine(found)[:, 0] * valid[:, k, None, None]
    return Maps(values, valid, slots, slot_scores(scores, slots), f"cam[{weighting}, {aggregate}]", grid)


def pooled(gradient: Tensor) -> Tensor:
    """Grad-CAM: one weight per channel, the mean of the gradient (B,D,h,w) over positions."""
    return gradient.mean((2, 3), keepdim=True)


def class_weights(gradient: Tensor) -> Tensor:
    """CAM: where the score is linear in the average of the features, h·w times the gradient is the classifier's weight.

    Raises:
        CaptureError: the gradient varies over positions: there is no such weight.
    """
    mean = gradient.mean((2, 3), keepdim=True)
    strays = (gradient - mean).abs().amax((1, 2, 3)) > CONSTANT * gradient.abs().amax((1, 2, 3))
    if strays.any():
        raise CaptureError(
            "CAM is defined where the score is linear in the average of the last features; here their gradient varies "
            "over positions (a class token, or layers in between): use gradcam, or name the layer before the average"
        )
    return mean * (gradient.shape[2] * gradient.shape[3])


def zoom(maps: Sequence[Tensor]) -> Tensor:
    """Zoom-CAM's aggregation of maps (B,1,h,w) in any order: maximum coarse to fine, in [0,1].

    A further layer, coarser than the others or on the grid of one of them, never lowers a pixel.
    """
    ordered = sorted(maps, key=lambda m: m.shape[2] * m.shape[3])
    found = peak_normalised(ordered[0])
    for finer in ordered[1:]:
        found = torch.maximum(_upsampled(found, finer.shape[-2:]), peak_normalised(finer))
    return found


def uncertainty_fuse(maps: Sequence[Tensor]) -> Tensor:
    """UM-CAM's fusion of maps (B,1,h,w): layers count for less at pixels where they are undecided; (B,1,h,w) in [0,1].

    U = −(M log(M+e) + (1−M) log(1−M+e)), e = 1e-6; weight e^(−U) in [½, 1]; the weighted mean is min–max normalised.
    The reference resizes to the photo first; here the finest grid is the meeting place.
    """
    same = torch.stack(_at_finest([min_max(m) for m in maps]))
    weights = torch.exp(-binary_entropy(same))
    return min_max((weights * same).sum(0) / (weights.sum(0) + EPSILON))


def binary_entropy(maps: Tensor) -> Tensor:
    """U of maps in [0,1], elementwise, in nats: 0 at 0 and 1, log 2 at ½."""
    return -(maps * (maps + EPSILON).log() + (1 - maps) * (1 - maps + EPSILON).log())


def mean_fuse(maps: Sequence[Tensor]) -> Tensor:
    """Mean of the min–max maps (B,1,h,w) at the finest grid, in [0,1]."""
    return torch.stack(_at_finest([min_max(m) for m in maps])).mean(0)


def peak_normalised(maps: Tensor) -> Tensor:
    """Zoom-CAM's N: (M − min M) / max M per map of (B,K,h,w) ≥ 0; a zero map stays zero."""
    least, peak = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - least) / torch.where(peak > 0, peak, 1)


def min_max(maps: Tensor) -> Tensor:
    """(M − min M) / (max M − min M) per map of (B,K,h,w); a constant map becomes zero."""
    least = maps.amin((2, 3), keepdim=True)
    span = maps.amax((2, 3), keepdim=True) - least
    return (maps - least) / torch.where(span > 0, span, 1)


WEIGHTINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "class": class_weights,
    "pooled": pooled,
    "elementwise": lambda gradient: gradient,
    "positive": torch.relu,
}
AGGREGATES: dict[str, Callable[[Sequence[Tensor]], Tensor]] = {
    "none": lambda maps: maps[0],
    "max": zoom,
    "uncertainty": uncertainty_fuse,
    "mean": mean_fuse,
}


def _upsampled(maps: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def _at_finest(maps: Sequence[Tensor]) -> list[Tensor]:
    size = max((m.shape[-2:] for m in maps), key=lambda s: s[0] * s[1])
    return [_upsampled(m, size) for m in maps]
