"""How much patches attend to each other in a model: what walks and diffusions follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from getam.attention.capture import Call, Geometry, capture, frozen, global_calls
from getam.errors import CaptureError
from getam.maps.base import geometry_of
from getam.maps.scores import class_scores
from getam.refine.class_aware import LAST_BLOCKS
from getam.refine.random_walk import attention_affinity


@torch.no_grad()
def model_affinity(model: nn.Module, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """`attention_affinity` of all blocks of one forward: (B,N,N) float32, symmetric, and the grid (h,w), N = h·w.

    Args:
        model: as `methods.getam.getam` takes it; it is left as it was.
        images: (B,3,H,W), as the model takes them.

    Raises:
        CaptureError, InputError: as `methods.getam.getam`; and windowed or class-attention models have none.
    """
    calls, place = _calls(model, images)
    return affinity_of(calls, place), place.grid


def has_learned_affinity(model: nn.Module) -> bool:
    """Whether `learned_affinity` can ask the network: the recipe "afa" trains such."""
    return callable(getattr(model, "learned_affinity", None))


@torch.no_grad()
def learned_affinity(model: nn.Module, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """The affinity (B,N,N) in (0,1) that a network has learned, and its grid (h,w); args as `model_affinity`.

    Raises:
        CaptureError: the network has learned none.
    """
    if not has_learned_affinity(model):
        raise CaptureError(
            f"{type(model).__name__} has learned no affinity: train a network that has with --recipe afa"
        )
    network: Any = model
    with frozen(model):
        return network.learned_affinity(images), geometry_of(model, images).grid


def has_learned_boundaries(model: nn.Module) -> bool:
    """Whether `learned_boundaries` can ask the network: the stage "boundaries" of the recipe "irn" trains such."""
    return callable(getattr(model, "learned_boundaries", None))


@torch.no_grad()
def learned_boundaries(model: nn.Module, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """The class boundaries (B,h,w) in (0,1) that a network has learned, and their grid (h,w); args as `model_affinity`.

    Raises:
        CaptureError: the network has learned none.
    """
    if not has_learned_boundaries(model):
        raise CaptureError(
            f"{type(model).__name__} has learned no class boundaries: train with --recipe irn a network that has"
        )
    network: Any = model
    with frozen(model):
        found: Tensor = network.learned_boundaries(images)
    return found, (found.shape[1], found.shape[2])


@torch.no_grad()
def model_attention(model: nn.Module, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """As `model_affinity`, of the last `LAST_BLOCKS` blocks and directed: [b,i,j] says how much i attends to j."""
    calls, place = _calls(model, images)
    return affinity_of(calls[-LAST_BLOCKS:], place, symmetric=False), place.grid


@torch.no_grad()
def affinity_of(calls: Sequence[Call], place: Geometry, *, symmetric: bool = True) -> Tensor:
    """`attention_affinity` of captured self-attentions (`capture.global_calls`), one matrix at a time."""
    matrices = (call.attention(slice(None)) for call in calls)
    return attention_affinity(matrices, place.prefix, symmetric=symmetric)


def _calls(model: nn.Module, images: Tensor) -> tuple[list[Call], Geometry]:
    """The self-attentions of one forward, and where their patches lie."""
    place = geometry_of(model, images)
    with capture(model, freeze=True) as tap:
        class_scores(model, images)
    return global_calls(tap, place), place
