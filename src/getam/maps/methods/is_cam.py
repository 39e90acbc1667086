"""IS-CAM: maps from prototypes that each photo finds in its own features (SIPE, arXiv 2203.02909, CVPR 2022).

A class activation map says where to look; features that resemble what it shows most of become the class's prototype,
and the map is the resemblance of every position to that. The objective of SIPE is not part of this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from getam.attention.capture import frozen
from getam.errors import InputError
from getam.maps.base import Maps, class_slots
from getam.maps.features import default_layers, feature_taps, on_grid
from getam.maps.methods.multi_layer import multi_layer_cam
from getam.maps.scores import class_scores, slot_scores

BACKGROUND_WEIGHT = 0.5  # of the background's IoU, reference
EPSILON = 1e-5  # beside the peak a map is divided by, reference


def is_cam(
    model: nn.Module,
    images: Tensor,
    classes: Sequence[Sequence[int]] | Tensor,
    *,
    layers: Sequence[str] | None = None,
    background: bool = False,
) -> Maps:
    """Image-specific maps of any classifier: Grad-CAM of the last layer, refined by features of several.

    SIPE reads its features through side branches that its training learns: those of a network of recipe `sipe`, where
    no layers are named. Without training they are the layers' own,
    L2-normalised per position, brought to the grid of the last layer but one and concatenated; and the first map is
    Grad-CAM, which on SIPE's network is its CAM. It takes that of every class of the model, a partial backward each, to
    know the background.

    Args: model, images, classes, layers and errors as `multi_layer.multi_layer_cam`; the last of `layers`
        gives the Grad-CAM.
        background: subtract the background's map, down to 0: where anything is left, a class resembles its prototype
            more than the background its own, and the largest rest is the arg-max over both, without a threshold.

    Returns:
        `Maps` with values in [0,1].
    """
    if layers is None and callable(made := getattr(model, "prototype_maps", None)):
        return _of_side_branches(model, images, classes, made, background)
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
        cams = over_peak(cams)
        own = (F.one_hot(slots.clamp(min=0), scores.shape[1]) * valid[..., None]).any(1)
        same = [F.interpolate(F.normalize(f, dim=1), size=grid, mode="bilinear") for f in found]
        at = slots.clamp(min=0)[..., None, None].expand(-1, -1, *grid)
        values = _classes(image_specific_cam(torch.cat(same, 1), cams, own), background).gather(1, at)
    return Maps(values * valid[..., None, None], valid, slots, slot_scores(scores, slots), "is-cam", grid)


def _of_side_branches(
    model: nn.Module, images: Tensor, classes: Sequence[Sequence[int]] | Tensor, made: Any, background: bool
) -> Maps:
    """Of a network that has learned its features: `prototype_maps` gives the maps of chosen classes."""
    with torch.no_grad(), frozen(model):
        scores = class_scores(model, images)
        slots, valid = class_slots(classes, len(images), scores.shape[1], scores.device)
        own = (F.one_hot(slots.clamp(min=0), scores.shape[1]) * valid[..., None]).any(1)
        found = _classes(made(images, own), background)
    at = slots.clamp(min=0)[..., None, None].expand(-1, -1, *found.shape[2:])
    values = found.gather(1, at) * valid[..., None, None]
    grid = (int(found.shape[2]), int(found.shape[3]))
    return Maps(values, valid, slots, slot_scores(scores, slots), "is-cam", grid)


def _classes(maps: Tensor, background: bool) -> Tensor:
    """Maps (B,1+C,h,w), the background's first → those of the classes, above the background's on request."""
    return (maps[:, 1:] - maps[:, :1]).relu() if background else maps[:, 1:]


def image_specific_cam(
    features: Tensor,
    cams: Tensor,
    own: Tensor,
    *,
    structure: Tensor | None = None,
    inside: Tensor | None = None,
) -> Tensor:
    """Seeds by structure, prototypes of the seeds, resemblance to the prototypes; differentiable in `features`.

    J = `soft_iou` of relu(cos(F_p, F_q)) and the maps, the background (1 − max_c cam_c over all classes, first)
    counting half; a position is a seed of argmax J; P_c = mean of F over the seeds of c; IS-CAM = relu(cos(F_p, P_c)).

    Args:
        features: F (B,D,h,w).
        cams: (B,C,h,w) in [0,1], C ≥ 1, of all classes: what shows a class is not background, whether tagged or not.
        own: (B,C) bool, the photo's own classes; any other keeps no seed and gets a zero map.
        structure: (B,D',h,w) features in whose place the seeds are found; None: `features`.
        inside: (B,h,w) bool, false where a crop shows no photo: no map, the background's neither, and no seed;
            R sums over it as in the reference. None: it does everywhere.

    Returns:
        (B,1+C,h,w) in [0,1], background first. A class without a seed has a zero map.
    """
    there = F.pad(own, (1, 0), value=True)[..., None]  # (B,1+C,1), or (B,1+C,N)
    if inside is not None:
        there = there & inside.flatten(1)[:, None]
    cams = torch.cat([1 - cams.amax(1, keepdim=True), cams], 1).flatten(2) * there
    unit = F.normalize(features.flatten(2), dim=1)
    other = unit if structure is None else F.normalize(structure.flatten(2), dim=1)
    iou = soft_iou((other.transpose(1, 2) @ other).relu(), cams)
    iou[:, 0] *= BACKGROUND_WEIGHT
    seeds = F.one_hot(iou.argmax(1), cams.shape[1]).to(unit) * there.transpose(1, 2)  # (B,N,1+C)
    prototypes = F.normalize(features.flatten(2) @ seeds, dim=1)  # (B,D,1+C); the mean's scale drops out
    return (prototypes.transpose(1, 2) @ unit).relu().unflatten(2, features.shape[2:])


def class_maps(score_map: Tensor) -> Tensor:
    """relu(A) / (max relu(A) + 1e-5), map by map: (B,C,h,w) of either sign → (B,C,h,w) in [0,1)."""
    return over_peak(score_map.float().relu())


def over_peak(maps: Tensor) -> Tensor:
    """Maps (B,C,h,w) ≥ 0, each divided by its peak + 1e-5."""
    return maps / (maps.amax((2, 3), keepdim=True) + EPSILON)


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
