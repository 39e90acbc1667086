"""Attention diffusion: activations spread along attention that common neighbours confirm (AD-CAM, arXiv 2211.10931).

A reconstruction from the paper's abstract; no code was published. The abstract fixes two steps: attention between two
patches of very different neighbourhoods is reduced ("conservative"), then every patch's activation is diffused to its
neighbours in proportion to the attention ("convincing"). Similarity, restart and the numbers below are ours, not tuned.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.errors import InputError
from getam.refine.random_walk import Walk, require_affinity, transition_matrix

STEPS = 5
RESTART = 0.5  # share of the given map in every step's result
SHARPNESS = 1.0  # exponent γ of the similarity of neighbourhoods


@torch.no_grad()
def attention_diffusion(
    maps: Tensor,
    affinity: Tensor,
    *,
    steps: int = STEPS,
    restart: float = RESTART,
    sharpness: float = SHARPNESS,
    direction: Literal["scatter", "gather"] = "scatter",
) -> Tensor:
    """`m ← a m₀ + (1 − a) T m`, `steps` times, with T from `B_ij ∝ A_ij cos(A_i, A_j)^γ`.

    Scattering, the literal reading of "diffuse activation in proportion to the attention": `T = Bᵀ` with rows of B
    summing to 1, so patch j hands its activation out and a map keeps its sum. Gathering: `T = B`, patch i takes the
    mean of the others and a map keeps its range, which is safer where a few patches draw everyone's attention. The
    plain coupling `m ← A m` that the abstract compares with is `random_walk`. Nothing is recorded for autograd.

    Args:
        maps: (B,K,h,w) ≥ 0, on the patch grid.
        affinity: (B,N,N) ≥ 0, N = h·w, row i: how patch i attends to the others (`attention_affinity`).
        steps: 0 returns the maps.
        restart: a in [0,1]; 1 returns the maps, 0 forgets them.
        sharpness: γ ≥ 0; 0 takes the attention as it is.
        direction: scatter or gather.

    Returns:
        (B,K,h,w) float32; normalise it (`normalise_maps`) before thresholds.

    Raises:
        InputError: sizes that do not fit together, values that are not finite, or numbers out of range.

    >>> row = torch.tensor([[[[1.0, 0.0, 0.0]]]])
    >>> attention = torch.tensor([[[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]])
    >>> attention_diffusion(row, attention, steps=1).tolist()
    [[[[0.75, 0.25, 0.0]]]]
    """
    require_affinity(maps, affinity)
    if steps < 0 or not 0 <= restart <= 1 or sharpness < 0 or direction not in ("scatter", "gather"):
        raise InputError(
            f"steps {steps}, restart {restart}, sharpness {sharpness}, direction {direction!r}: steps and sharpness "
            "must be 0 or more, restart within 0 and 1, the direction scatter or gather."
        )
    grid = (maps.shape[-2], maps.shape[-1])
    transition = transition_matrix(conservative_affinity(affinity, sharpness=sharpness), grid, walk=Walk())
    if direction == "scatter":
        transition = transition.mT
    given = maps.float().flatten(2).transpose(1, 2)  # (B,N,K)
    diffused = given
    for _ in range(steps):
        diffused = restart * given + (1 - restart) * (transition @ diffused)
    return diffused.transpose(1, 2).reshape(maps.shape)


def conservative_affinity(affinity: Tensor, *, sharpness: float = SHARPNESS) -> Tensor:
    """`A_ij cos(A_i, A_j)^γ`, (B,N,N) -> (B,N,N) float32: patches that attend differently lose what links them.

    >>> linked = torch.tensor([[[0.8, 0.2, 0.0], [0.0, 0.8, 0.2], [0.0, 0.2, 0.8]]])
    >>> (100 * conservative_affinity(linked) / linked)[0, :, 1].round().tolist()  # per cent; the first looks elsewhere
    [24.0, 100.0, 47.0]
    """
    return affinity.float() * neighbourhood_similarity(affinity) ** sharpness


def neighbourhood_similarity(affinity: Tensor) -> Tensor:
    """Cosine between the rows of an affinity (B,N,N) ≥ 0 -> (B,N,N) in [0,1]; a row of zeros is like no other."""
    peak = affinity.float().amax(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    rows = F.normalize(affinity.float() / peak, dim=-1)
    return (rows @ rows.mT).clamp(0, 1)
