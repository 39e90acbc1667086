"""Affinity from class boundaries, and the walk along it: IRN (arXiv 1904.05044); BAS, SIPE and Puzzle-CAM end so.

Two cells belong together unless a boundary lies between them: a_ij = 1 − max B over the cells of the line from i to j.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.errors import InputError
from getam.refine.inputs import require_finite
from getam.refine.random_walk import IRN

Offset = tuple[int, int]  # (down, right), in cells

RADIUS = 5  # arXiv 1904.05044: of the walk; cells this far apart, by Euclid, make no pair any more


@cache
def pair_offsets(radius: int) -> tuple[Offset, ...]:
    """Where the second cell of a pair lies, seen from the first: closer than `radius`, each pair once.

    Raises:
        InputError: the radius is below 2: no cell has another so near.

    >>> pair_offsets(2)
    ((0, 1), (1, -1), (1, 0), (1, 1))
    """
    if radius < 2:
        raise InputError(
            f"radius {radius} of pairs of cells: give 2 or more, cells this far apart are no pair"
        )
    return tuple(
        (down, right)
        for down in range(radius)
        for right in range(-radius + 1, radius)
        if (down, right) > (0, 0) and down**2 + right**2 < radius**2
    )


@cache
def path(offset: Offset) -> tuple[Offset, ...]:
    """The cells between (0, 0) and `offset`, both among them: in their box, and closer than 1 to the line through them.

    >>> path((0, 2)), path((1, 1))
    (((0, 0), (0, 1), (0, 2)), ((0, 0), (0, 1), (1, 0), (1, 1)))
    """
    down, right = offset
    box = ((y, x) for y in range(down + 1) for x in range(min(right, 0), max(right, 0) + 1))
    return tuple((y, x) for y, x in box if (down * x - right * y) ** 2 < down**2 + right**2)


def seconds(values: Tensor, offsets: Sequence[Offset], outside: float) -> Tensor:
    """The value at the second cell of each pair: (B,h,w) → (B,P,h,w), `outside` where that is not on the grid."""
    shifted = _shifts(values, offsets, outside)
    return torch.stack([shifted(offset) for offset in offsets], 1)


def path_peaks(values: Tensor, offsets: Sequence[Offset], outside: float) -> Tensor:
    """The largest value on the path of each pair, its two cells among them.

    Args:
        values: (B,h,w).
        offsets: of `pair_offsets`.
        outside: stands where a path leaves the grid; give what is at least as large as any value.

    Returns:
        (B,P,h,w): [b,p,y,x] is of the pair that begins at (y,x).
    """
    shifted = _shifts(values, offsets, outside)
    return torch.stack([torch.stack([shifted(cell) for cell in path(o)]).amax(0) for o in offsets], 1)


@torch.no_grad()
def boundary_walk(
    maps: Tensor, boundary: Tensor, *, power: float = IRN.power, steps: int = IRN.steps, radius: int = RADIUS
) -> Tensor:
    """IRN: m ← Tᵗ (m ∘ (1 − B)), T_ij ∝ a_ij^power, rows of T sum to 1, a cell and itself have affinity 1.

    T holds the pairs within the radius only, so that memory grows with the cells and not with their square.

    Args:
        maps: (B,K,h,w).
        boundary: (B,h,w) in [0,1], how surely a cell lies on a class boundary.
        power: β, element by element.
        steps: t.
        radius: cells this far apart or further make no pair.

    Returns:
        (B,K,h,w) float32.

    Raises:
        InputError: sizes that do not fit together, values that are not finite, boundaries outside [0,1], a radius
            below 2, a power that is not above 0, or a negative number of steps.

    >>> row = torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]]])
    >>> wall = torch.tensor([[[0.0, 0.0, 1.0, 0.0]]])  # between the second and the last
    >>> boundary_walk(row, wall, steps=9).round(decimals=3).tolist()
    [[[[0.5, 0.5, 0.0, 0.0]]]]
    """
    if maps.ndim != 4 or boundary.shape != (len(maps), *maps.shape[2:]):
        raise InputError(
            f"maps are {tuple(maps.shape)} and the boundaries {tuple(boundary.shape)}: pass (B,K,h,w) and (B,h,w)"
        )
    require_finite(maps=maps, boundary=boundary)
    if boundary.numel() and not 0 <= float(boundary.min()) <= float(boundary.max()) <= 1:
        raise InputError("the boundaries hold values outside [0,1]: pass probabilities, after the sigmoid")
    if not power > 0 or steps < 0:
        raise InputError(f"power {power} must be above 0 and steps {steps} 0 or more")
    height, width = maps.shape[2:]
    offsets = pair_offsets(radius)
    started = (maps.float() * (1 - boundary.float())[:, None]).flatten(2).mT  # (B,N,K)
    alike = (1 - path_peaks(boundary.float(), offsets, 1.0)) ** power
    walked = []
    for one, spread in zip(alike, started):
        transition = _transition(one, offsets, (height, width))
        for _ in range(steps):
            spread = transition @ spread
        walked.append(spread)
    return torch.stack(walked).mT.reshape(maps.shape) if walked else maps.float()


def _transition(alike: Tensor, offsets: Sequence[Offset], grid: tuple[int, int]) -> Tensor:
    """T (N,N), sparse, of one photo's weights (P,h,w), which are 0 for pairs that leave the grid."""
    count, width = grid[0] * grid[1], grid[1]
    every = torch.arange(count, device=alike.device)
    steps = torch.tensor([down * width + right for down, right in offsets], device=alike.device)
    first = every.expand(len(offsets), -1)
    second = first + steps[:, None]
    weights = alike.flatten(1)
    linked = weights > 0
    first, second, weights = first[linked], second[linked], weights[linked]
    rows, columns = torch.cat([first, second, every]), torch.cat([second, first, every])
    values = torch.cat([weights, weights, weights.new_ones(count)])
    sums = values.new_zeros(count).index_add_(0, rows, values)
    transition = torch.sparse_coo_tensor(
        torch.stack([rows, columns]), values / sums[rows], (count, count), check_invariants=True
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support", UserWarning)
        return transition.to_sparse_csr()  # on a CPU the walk takes a tenth of the time, same bits


def _shifts(values: Tensor, offsets: Sequence[Offset], outside: float) -> Callable[[Offset], Tensor]:
    """A function that gives (B,h,w) as seen from another cell: values[y + down, x + right], or `outside`."""
    height, width = values.shape[1:]
    down = max((y for y, _ in offsets), default=0)
    right = max((abs(x) for _, x in offsets), default=0)
    padded = F.pad(values, (right, right, 0, down), value=outside)
    return lambda cell: padded[:, cell[0] : cell[0] + height, right + cell[1] : right + cell[1] + width]
