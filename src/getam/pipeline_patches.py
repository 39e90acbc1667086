"""Refiners on patches, as a pipeline calls them: what of a network each one follows, and maps refined along it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from getam.attention.capture import attentions
from getam.errors import InputError
from getam.maps.affinity import (
    has_learned_affinity,
    has_learned_boundaries,
    learned_affinity,
    learned_boundaries,
    model_affinity,
    model_attention,
)
from getam.maps.methods.multi_layer import min_max
from getam.maps.registry import REGISTRY, find_method
from getam.photo_size import fit_patches
from getam.refine.registry import REFINERS, Refiner, find_chain, find_refiner, refine

FOLLOWED = {  # what they are given, by its name
    "affinity": model_affinity,
    "attention": model_attention,
    "learned": learned_affinity,
    "boundary": learned_boundaries,
}


def refine_patches(
    names: Sequence[str],
    net: nn.Module,
    image: Tensor,
    maps: Tensor,
    *,
    longest: int,
    boundaries: nn.Module | None,
) -> Tensor:
    """Maps after refiners on patches, in order; what several follow is read off the network once.

    Args:
        names: of refiners that need something of `FOLLOWED`, one at least.
        net: a network of ours, with `patch`.
        image: (1,3,H,W) float32 in 0–255.
        maps: (1,K,h,w).
        longest: side in pixels of the photo that the network reads; cut to its patches.
        boundaries: a network that has learned class boundaries, which walk-irn follows; None: `net`, if it has.

    Returns:
        (1,K,h',w') on the patch grid of the last, its minimum subtracted where the paper of that refiner says so.
    """
    chain = find_chain(names)
    seen: dict[str, tuple[Tensor, tuple[int, int]]] = {}
    for name, refiner in zip(names, chain):
        source = followed_by(refiner, net, boundaries)
        if source not in seen:
            asked: Any = boundaries if source == "boundary" and boundaries is not None else net
            largest = fit_patches(image.shape[-2], image.shape[-1], longest, asked.patch)
            resized = F.interpolate(image, size=largest, mode="bilinear", antialias=True)
            seen[source] = FOLLOWED[source](asked, resized)
        alike, grid = seen[source]
        if maps.shape[-2:] != grid:  # features of a stage, not of patches
            maps = F.interpolate(maps, size=grid, mode="bilinear", align_corners=True)
        maps = refine([name], maps, **{"boundary" if source == "boundary" else refiner.needs: alike})
    return min_max(maps) if chain[-1].from_zero else maps


def followed_by(refiner: Refiner, net: nn.Module, boundaries: nn.Module | None) -> str:
    """What a refiner on patches is given, a name in `FOLLOWED`; of others what they need."""
    if refiner.along is not None and has_learned_boundaries(net if boundaries is None else boundaries):
        return "boundary"
    return "learned" if refiner.learned and has_learned_affinity(net) else refiner.needs


def require_attention(
    method: str, refiners: Sequence[str], net: nn.Module, boundaries: nn.Module | None
) -> None:
    """Raise `InputError` where one of them asks attention of a network without any: which, and which others do not."""
    if next(attentions(net), None) is not None:
        return
    walks = [
        name
        for name in refiners
        if followed_by(find_refiner(name), net, boundaries) in ("affinity", "attention")
    ]
    if find_method(method).attention:
        asking, others = method, [name for name, its in REGISTRY.items() if not its.attention]
    elif walks:
        asking, others = walks[0], [name for name, its in REFINERS.items() if its.needs == "images"]
    else:
        return
    raise InputError(f"{asking} needs attention, which this model has not: use one of {', '.join(others)}")
