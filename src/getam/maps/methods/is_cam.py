"""IS-CAM: maps from prototypes that each photo finds in its own features (SIPE, arXiv 2203.02909, CVPR 2022).

A class activation map says where to look; features that resemble what it shows most of become the class's prototype,
and the map is the resemblance of every position to that. The objective of SIPE is not part of this file.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from getam.attention.capture import frozen
from getam.errors import InputError
from getam.maps.base import Maps, class_scores, class_slots, slot_scores
from getam.maps.features import default_layers, feature_taps, on_grid
from getam.maps.methods.multi_layer import multi_layer_cam

BACKGROUND_WEIGHT = 0.5  # of the background's IoU, reference
EPSILON = 1e-5  # beside the peak a map is divided by, reference


def is_cam(
    model: nn.Module,
    images: Tensor,
    classes: Sequence[Sequence[int]] | Tensor,
    *,
    layers: Sequence[str] | None = None,
) -> Maps:
    """Image-specific maps of any classifier: Grad-CAM of the last layer, refined by features of several.

    SIPE reads its features through side branches that its training learns. Without training they are the layers' own,
    L2-normalised per position, brought to the grid of the last layer but one and concatenated; and the first map is
    Grad-CAM, which on SIPE's network is its CAM. It takes that of every class of the model, a partial backward each, to
    know the background, whose own map is left out (`image_specific_cam` has it).

    Args: model, images, classes, layers and errors as `multi_layer.multi_layer_cam`; the last of `layers`
        gives the Grad-CAM.

    Returns:
        `Maps` with values in [0,1].
    """
    layers = list(layers) if layers is not None else default_layers(model, images)
    if not layers:
        raise InputError("0 layers were given: name at least one, the last for the Grad-CAM")
    with torch.no_grad(), frozen(model), feature_taps(model, layers) as taps:
        scores = class_scores(model, images)
    slots, valid = class_slots(classes, len(images), scores.shape[1], scores.device)
    found = [on_grid(taps[layer], model, images, layer) for layer in layers]
    grid = (int(found[-2:][0].shape[2]), int(found[-2:][0].shape[3]))
    values = torch.zeros(*slots.shape, *grid, device=scores.device)
    if slots.shape[1]:
        every = [range(scores.shape[1])] * len(images)
        first = multi_layer_cam(
            model, images, every, layers=layers[-1:], weighting="pooled", aggregate="none"
        )
        cams = F.interpolate(first.values, size=grid, mode="bilinear")
        cams = cams / (cams.amax((2, 3), keepdim=True) + EPSILON)
        own = (F.one_hot(slots.clamp(min=0), scores.shape[1]) * valid[..., None]).any(1)
        same = [F.interpolate(F.normalize(f, dim=1), size=grid, mode="bilinear") for f in found]
        at = slots.clamp(min=0)[..., None, None].expand(-1, -1, *grid)
        values = image_specific_cam(torch.cat(same, 1), cams, own)[:, 1:].gather(1, at)
    return Maps(values * valid[..., None, None], valid, slots, slot_scores(scores, slots), "is-cam", grid)


def image_specific_cam(features: Tensor, cams: Tensor, own: Tensor) -> Tensor:
    """Seeds by structure, prototypes of the seeds, resemblance to the prototypes.

    J = `soft_iou` of relu(cos(F_p, F_q)) and the maps, the background (1 − max_c cam_c over all classes, first)
    counting half; a position is a seed of argmax J; P_c = mean of F over the seeds of c; IS-CAM = relu(cos(F_p, P_c)).

    Args:
        features: F (B,D,h,w).
        cams: (B,C,h,w) in [0,1], C ≥ 1, of all classes: what shows a class is not background, whether tagged or not.
        own: (B,C) bool, the photo's own classes; any other keeps no seed and gets a zero map.

    Returns:
        (B,1+C,h,w) in [0,1], background first. A class without a seed has a zero map.
    """
    present = F.pad(own, (1, 0), value=True)
    cams = torch.cat([1 - cams.amax(1, keepdim=True), cams], 1).flatten(2) * present[..., None]
    unit = F.normalize(features.flatten(2), dim=1)
    iou = soft_iou((unit.transpose(1, 2) @ unit).relu(), cams)
    iou[:, 0] *= BACKGROUND_WEIGHT
    seeds = F.one_hot(iou.argmax(1), cams.shape[1]).to(unit) * present[:, None]  # (B,N,1+C)
    prototypes = F.normalize(features.flatten(2) @ seeds, dim=1)  # (B,D,1+C); the mean's scale drops out
    return (prototypes.transpose(1, 2) @ unit).relu().unflatten(2, features.shape[2:])


def soft_iou(correlation: Tensor, cams: Tensor) -> Tensor:
    """J_cp = Σ_q R_pq m_cq / ( Σ_q R_pq + Σ_q m_cq − Σ_q R_pq m_cq ), in [0,1].

    Args:
        correlation: R (B,N,N) in [0,1].
        cams: m (B,C,N) in [0,1].

    Returns:
        (B,C,N).
    """
    both = cams @ correlation.transpose(1, 2)
    either = correlation.sum(2)[:, None] + cams.sum(2, keepdim=True) - both
    return both / torch.where(either > 0, either, 1)
