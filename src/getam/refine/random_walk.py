"""Random walk of activations along pairwise affinities of patches: AFA, IRN, Puzzle-CAM, ACR share it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from getam.errors import InputError
from getam.refine.inputs import require_finite

Normalise = Literal["gather", "scatter", "none"]


@dataclass(frozen=True)
class Walk:
    """How an affinity becomes a transition matrix, and how often it is applied.

    Attributes:
        power: element-wise exponent; above 1 it silences weak affinities.
        steps: applications of the transition matrix.
        normalise: "gather": every patch takes the mean of the others, weighted by affinity (rows of T sum to 1, maps
            keep their range); "scatter": every patch gives its activation away (columns sum to 1, maps keep their
            sum); "none": plain sums.
        radius: patches further apart than this, along either axis, do not see each other; None: all do.
    """

    power: float = 1
    steps: int = 1
    normalise: Normalise = "gather"
    radius: int | None = None

    def __post_init__(self) -> None:
        if not self.power > 0 or self.steps < 0 or (self.radius is not None and self.radius < 0):
            raise InputError(
                f"{self}: the power must be above 0, the number of steps and the radius 0 or more."
            )
        if self.normalise not in ("gather", "scatter", "none"):
            raise InputError(f"normalise is {self.normalise!r}: choose gather, scatter or none.")


AFA = Walk(power=2, steps=1, radius=8)
"""arXiv 2203.02664, the published code: the affinity squared element by element (`a^{.2}`, not the matrix product A A),
patches within 8 of each other, one step. It walks on softmax([background, maps]) and divides by columns, which for
symmetric affinities is the same transition; here the maps walk as they are."""
IRN = Walk(power=10, steps=2**8, radius=5)
"""arXiv 1904.05044, and Puzzle-CAM (2101.11253), whose affinity lives on a disc of radius 5; here it is a square."""
ACR = Walk(power=1, steps=1, normalise="none")
"""arXiv 2308.04321: one multiplication by the attention of all blocks, neither normalised nor symmetric."""


@torch.no_grad()
def random_walk(maps: Tensor, affinity: Tensor, *, walk: Walk = AFA) -> Tensor:
    """`m ← Tᵗ m` with `T ∝ (A ∘ window)^power`: activations spread to the patches that are alike.

    AFA: `T = D⁻¹ A^{∘2}` within radius 8, one step; IRN: `T = D⁻¹ A^{∘10}`, 2⁸ steps. A patch without any affinity
    inside its window keeps what it has, where the references divide by (almost) zero. Nothing is recorded for autograd.

    Args:
        maps: (B,K,h,w), on the patch grid.
        affinity: (B,N,N) ≥ 0 with N = h·w, patches in raster order: learned affinities, feature similarities, or
            attention (`attention_affinity`). `affinity[b,i,j]` says how much patch i takes from patch j.
        walk: power, steps, normalisation and radius; `AFA`, `IRN` and `ACR` are those of the papers.

    Returns:
        (B,K,h,w) float32.

    Raises:
        InputError: sizes that do not fit together, values that are not finite, or affinities that are negative.

    >>> row = torch.tensor([[[[1.0, 0.0, 0.0]]]])  # three patches in a row, the first is active
    >>> alike = torch.tensor([[[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])  # to the second, not the third
    >>> random_walk(row, alike).tolist()
    [[[[0.5, 0.5, 0.0]]]]
    """
    require_affinity(maps, affinity)
    height, width = maps.shape[-2:]
    transition = transition_matrix(affinity, (height, width), walk=walk)
    spread = maps.float().flatten(2).transpose(1, 2)  # (B,N,K)
    for _ in range(walk.steps):
        spread = transition @ spread
    return spread.transpose(1, 2).reshape(maps.shape)


def transition_matrix(affinity: Tensor, grid: tuple[int, int], *, walk: Walk) -> Tensor:
    """T (B,N,N) float32 of affinities (B,N,N) ≥ 0 on a patch grid (h,w)."""
    transition = affinity.float()
    if walk.radius is not None:
        transition = transition * window(grid, walk.radius, device=affinity.device)
    if walk.normalise == "none":
        return transition**walk.power
    axis = 2 if walk.normalise == "gather" else 1
    peak = transition.amax(
        axis, keepdim=True
    )  # divided out first: small affinities to the 10th would underflow
    transition = (transition / peak.clamp(min=torch.finfo(peak.dtype).tiny)) ** walk.power
    alone = torch.eye(transition.shape[-1], device=transition.device)
    return torch.where(peak > 0, transition / transition.sum(axis, keepdim=True).clamp(min=1), alone)


def window(grid: tuple[int, int], radius: int, *, device: torch.device | str = "cpu") -> Tensor:
    """(N,N) bool: which patches of a grid (h,w) lie within `radius` of each other along both axes.

    >>> window((1, 4), 1).int().tolist()
    [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]
    """
    y, x = torch.meshgrid(
        torch.arange(grid[0], device=device), torch.arange(grid[1], device=device), indexing="ij"
    )
    apart = [(axis.flatten()[:, None] - axis.flatten()).abs() for axis in (y, x)]
    return torch.maximum(*apart) <= radius


def attention_affinity(attentions: Iterable[Tensor], prefix: int, *, symmetric: bool = True) -> Tensor:
    """Affinity of patches from attention: its mean over blocks and heads, without the prefix tokens.

    Args:
        attentions: of some blocks, (B,heads,T,T) each, after the softmax; given out one at a time, they need not be
            in memory together.
        prefix: tokens before the patches (CLS, registers, distillation).
        symmetric: mean of A and its transpose: two patches are as alike as each other.

    Returns:
        (B,N,N) float32, N = T − prefix.

    Raises:
        InputError: no block, blocks of different shapes, or no patch beyond the prefix.

    >>> attention_affinity([torch.tensor([[[[0.2, 0.4, 0.4], [0.0, 0.5, 0.5], [0.0, 0.25, 0.75]]]])], prefix=1).tolist()
    [[[0.5, 0.375], [0.375, 0.75]]]
    """
    total: Tensor | None = None
    shapes: list[tuple[int, ...]] = []
    for attention in attentions:
        shapes.append(tuple(attention.shape))
        if len(shapes[0]) != 4 or shapes[-1] != shapes[0] or not 0 <= prefix < shapes[0][2] == shapes[0][3]:
            break
        mean = attention[..., prefix:, prefix:].float().mean(1)
        total = mean if total is None else total + mean
    else:
        if total is not None:
            total = total / len(shapes)
            return (total + total.mT) / 2 if symmetric else total
    raise InputError(
        f"attentions are {sorted(set(shapes))} with prefix {prefix}: pass (B,heads,T,T) of one or more blocks, "
        "T > prefix."
    )


def require_affinity(maps: Tensor, affinity: Tensor, *, name: str = "affinity") -> None:
    """Raises InputError unless maps (B,K,h,w) and affinity (B,h·w,h·w) ≥ 0 belong together, and both are finite.

    The message calls the affinity by `name`.
    """
    patches = maps.shape[-2] * maps.shape[-1] if maps.ndim == 4 else 0
    if maps.ndim != 4 or tuple(affinity.shape) != (len(maps), patches, patches):
        raise InputError(
            f"maps are {tuple(maps.shape)} and the {name} {tuple(affinity.shape)}: pass maps (B,K,h,w) on the patch "
            "grid, not yet enlarged, and (B,h·w,h·w)."
        )
    require_finite(maps=maps, **{name: affinity})
    if affinity.numel() and float(affinity.min()) < 0:
        raise InputError(f"the {name} holds negative values: pass similarities of 0 or more.")
