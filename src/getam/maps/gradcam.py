"""Grad-CAM on the patch tokens of a transformer (Selvaraju et al. 2017, arXiv 1610.02391)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from getam.capture import attentions, frozen, geometry
from getam.errors import CaptureError
from getam.maps.base import Maps, class_slots
from getam.maps.getam import class_scores, require_gradients


def gradcam(model: nn.Module, images: Tensor, classes: Sequence[Sequence[int]] | Tensor) -> Maps:
    """relu( Σ_d ᾱ_d F_d ), ᾱ_d = mean over patches of ∂s_c/∂F_d, with F what the last attention reads.

    F is the input of the last attention (timm: the output of the last block's `norm1`): the last place where patches
    still reach a score that is read from a token. Args, result and errors as `getam.maps.getam.getam`.
    """
    require_gradients()
    place = geometry(model, images.shape[-2], images.shape[-1])
    blocks = [module for _, module in attentions(model)]
    if not blocks:
        raise CaptureError(f"{type(model).__name__} has no attention to read")
    seen: list[Tensor] = []

    def tap(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        tokens = inputs[0] if inputs[0].requires_grad else inputs[0].detach().requires_grad_()
        seen.append(tokens)
        return tuple(tokens if given is inputs[0] else given for given in inputs)

    hook = blocks[-1].register_forward_pre_hook(tap)
    try:
        with torch.enable_grad(), frozen(model):
            scores = class_scores(model, images)
    finally:
        hook.remove()
    features = seen[-1]
    patches = place.grid[0] * place.grid[1]
    if features.ndim != 3 or features.shape[1] != place.prefix + patches:
        raise CaptureError(
            f"the last attention reads {tuple(features.shape)}, not (B, {place.prefix} + {patches}, D) tokens"
        )
    slots, valid = class_slots(classes, images.shape[0], scores.shape[1], scores.device)
    values = torch.zeros(*slots.shape, *place.grid, device=scores.device)
    for k in range(slots.shape[1]):
        with torch.enable_grad():
            picked = scores.gather(1, slots[:, k : k + 1].clamp(min=0)).squeeze(1) * valid[:, k]
            summed = picked.sum()
        (gradient,) = torch.autograd.grad(summed, features, retain_graph=True)
        at_patches, weights = (t[:, place.prefix :].detach().float() for t in (features, gradient))
        cam = (at_patches * weights.mean(1, keepdim=True)).sum(2).relu()
        values[:, k] = cam.view(-1, *place.grid) * valid[:, k, None, None]
    scored = scores.detach().float().gather(1, slots.clamp(min=0)) * valid
    return Maps(values, valid, slots, scored, "gradcam", place.grid, "")
