"""ACR, all-pairs consistency (arXiv 2308.04321): a photo and its mirror image attend alike, mirrored.

With A^ℓ the attention of block ℓ averaged over heads, tokens CLS first and the N patches of the grid last, and π the
permutation that mirrors every row of the grid, over the photos of a batch:

    L_act = mean_{ℓ,j}   | A₁^ℓ[CLS, j] − (A₂^ℓ πᵀ)[CLS, j] |         what the class token looks at
    L_aff = mean_{ℓ,i,j} | A₁^ℓ[i, j] − (π A₂^ℓ πᵀ)[i, j] |           which patches belong together

Neither slice is normalised anew: values are of the order 1/N, which the paper's weight of 125 or 100 makes up for.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from getam.attention.capture import Call, Geometry

STRIP_BYTES = 64 << 20  # per-head attention is made in strips of this size, and anew in the backward


def consistency_losses(calls: Sequence[Call], place: Geometry) -> tuple[Tensor, Tensor]:
    """(L_act, L_aff) of a batch whose second half are the mirrored photos of the first, in the same order.

    No N×N matrix outlives its strip: the backward makes it again from queries and keys, which the network's own graph
    holds already.

    Args:
        calls: self-attentions of all blocks over the same tokens (`capture.global_calls`), 2B photos each.
        place: where the patches lie; the first of the prefix tokens is the class token.

    Returns:
        Two scalars ≥ 0, at least float32, with a graph.
    """
    first, prefix = calls[0].output, place.prefix
    photos, (height, width) = first.shape[0] // 2, place.grid
    patches = height * width
    per_grid_row = first.shape[0] * first.shape[1] * width * place.tokens * 4
    step = max(1, STRIP_BYTES // per_grid_row)
    act, aff = [], []
    with torch.autocast(first.device.type, enabled=False):
        for call in calls:
            act.append(_remade(call, slice(0, 1), place))
            for top in range(0, height, step):
                bottom = min(top + step, height)
                aff.append(_remade(call, slice(prefix + top * width, prefix + bottom * width), place))
    pairs = len(calls) * photos * patches
    return torch.stack(act).sum() / pairs, torch.stack(aff).sum() / (pairs * patches)


def mirrored(attention: Tensor, grid: tuple[int, int]) -> Tensor:
    """A πᵀ of rows (…,1,N), π A πᵀ of whole rows of the grid (…,k·w,N): patches in raster order on the grid (h,w).

    >>> mirrored(torch.tensor([[0.1, 0.2, 0.3, 0.4]]), (2, 2)).tolist()  # of one token, such as the class token
    [[0.20000000298023224, 0.10000000149011612, 0.4000000059604645, 0.30000001192092896]]
    """
    columns = attention.unflatten(-1, grid).flip(-1).flatten(-2)
    if attention.shape[-2] == 1 < grid[1]:
        return columns
    return columns.unflatten(-2, (-1, grid[1])).flip(-2).flatten(-3, -2)


def _remade(call: Call, rows: slice, place: Geometry) -> Tensor:
    found: Tensor = checkpoint(_difference, call, rows, place, use_reentrant=False, preserve_rng_state=False)
    return found


def _difference(call: Call, rows: slice, place: Geometry) -> Tensor:
    """Σ |A₁ − mirrored A₂| over photos, those query rows, and patches."""
    attention = call.attention(rows)[..., place.prefix :].mean(1)
    one, other = attention.chunk(2)
    return (one - mirrored(other, place.grid)).abs().sum()
