"""How much patches attend to each other, and maps carried along it: the step that ACR, AFA and AD-CAM share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from getam.capture import Call, Geometry


@torch.no_grad()
def attention_affinity(calls: Sequence[Call], place: Geometry) -> Tensor:
    """Σ over the attentions of mean_H A, patches to patches: (B,N,N) float32 ≥ 0, N = h·w; rows query, columns key.

    Args:
        calls: global self-attentions (`getam.capture.global_calls`); not normalised after the prefix is cut off.
        place: token geometry.
    """
    patches = slice(place.prefix, place.tokens)
    count = place.grid[0] * place.grid[1]
    total = calls[0].output.new_zeros(calls[0].output.shape[0], count, count, dtype=torch.float32)
    for call in calls:
        total += call.attention(patches)[..., patches].mean(1)
    return total


def normalise_rows(affinity: Tensor) -> Tensor:
    """Each row (B,N,N) divided by its sum: patches gather a weighted mean. A zero row stays zero."""
    sums = affinity.sum(-1, keepdim=True)
    return affinity / torch.where(sums > 0, sums, 1)


def normalise_columns(affinity: Tensor) -> Tensor:
    """Each column (B,N,N) divided by its sum: patches hand on what they have, and the sum of a map is kept."""
    return normalise_rows(affinity.transpose(-2, -1)).transpose(-2, -1)


def propagate(maps: Tensor, affinity: Tensor, *, steps: int = 1) -> Tensor:
    """m ← A m, `steps` times: what patch j holds reaches patch i in proportion to A_ij.

    Args:
        maps: (B,K,h,w) ≥ 0.
        affinity: (B,N,N), N = h·w.
        steps: number of multiplications.

    Returns:
        (B,K,h,w).
    """
    flat = maps.flatten(2)
    for _ in range(steps):
        flat = flat @ affinity.transpose(-2, -1)
    return flat.view_as(maps)
