"""Gaussian filtering in any dimension, linear in the points: permutohedral lattice (Adams et al., 2010)."""

import math
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.errors import InputError

BLUR_KERNEL = (0.5, 0.25, 0.25)  # centre and the two neighbours along one axis (section 3.2 of the paper)
# With that kernel, splatting, blurring and slicing together have a standard deviation of (d+1)·√(2/3) lattice
# units (section 3.3): features are stretched by as much, so that the filter comes out with a deviation of 1.
DEVIATION = math.sqrt(2 / 3)
LARGEST_KEY = 2**63 - 1


class PermutohedralLattice:
    """The matrix W with `W_ij ≈ exp(−|f_i − f_j|² / 2)`, own pairs included, applied without being built.

    Every point is spread (*splat*) over the d+1 corners of the lattice simplex around it, the corners are
    blurred along the d+1 axes, and the points read (*slice*) their corners back with the same weights.
    Divide features by the σ wanted beforehand: `(x/σ_xy, y/σ_xy, r/σ_rgb, g/σ_rgb, b/σ_rgb)` makes the
    bilateral filter.

    What to expect: only corners that carry points exist, as in the paper, so mass that a blur would send
    over empty corners is lost. The scale is the analytic one of a filled lattice, `(4π/3)^{d/2} √(d+1)`,
    exact for dense points. Scattered ones lose mass: on 128×128 photos with σ_rgb 15, σ_xy 50 values come
    to 0.80–0.85 of the exact sums, at a correlation of 0.99 (`benchmarks/refine.py`). Blurs along different
    axes no longer commute for the same reason; W is the mean of both orders, which makes it exactly
    symmetric: ⟨a, W b⟩ = ⟨W a, b⟩.

    Args:
        features: (N,d) float, N ≥ 1, d ≥ 1, in units of the filter's standard deviation. They are read
            relative to their minimum, so moving all points together changes nothing. float64 is kept, all
            else is float32.

    Raises:
        InputError: when features are not (N,d), not finite, or spread over more standard deviations than
            can be numbered in 63 bits (about 1,500 along each of 5 dimensions).

    >>> x = torch.linspace(0, 8, 400)[:, None]
    >>> approximate = PermutohedralLattice(x).filter(torch.ones(400, 1))
    >>> exact = torch.exp(-((x - x.T) ** 2) / 2).sum(1, keepdim=True)
    >>> bool(((approximate - exact).abs() < 0.02 * exact)[100:300].all())
    True
    """

    def __init__(self, features: Tensor) -> None:
        if features.ndim != 2 or features.shape[0] == 0 or features.shape[1] == 0:
            raise InputError(f"features are {tuple(features.shape)}: pass (N,d) with at least one point.")
        features = features.detach()
        features = features if features.dtype == torch.float64 else features.float()
        if not bool(torch.isfinite(features).all()):
            raise InputError(
                "features hold NaN or infinite values: check the photo and the σ it is divided by."
            )
        dimensions = features.shape[1]
        weights, corners = _enclosing_simplices(features)
        strides = _key_strides(corners)
        keys, self._corner_of, self._splat = _numbered(_dot(corners, strides).T, weights.T)
        self.vertices = len(keys)
        self.scale = (4 * math.pi / 3) ** (dimensions / 2) * math.sqrt(dimensions + 1)
        self._weights = weights.T.contiguous()  # (N,d+1), like _corner_of
        self._neighbours = [_neighbours(keys, step, weights.dtype) for step in _axis_steps(strides)]
        self._row_sums: Tensor | None = None

    @classmethod
    def bilateral(
        cls, image: Tensor, inside: Tensor | None = None, *, sigma_xy: float, sigma_rgb: float
    ) -> Self:
        """Lattice over the pixels, row by row, of a photo; σ in pixels and in colour levels.

        Args:
            image: (3,H,W), values 0–255.
            inside: (H,W) bool, the pixels to take; all where not given.
        """
        height, width = image.shape[-2:]
        y, x = torch.meshgrid(
            torch.arange(height, device=image.device), torch.arange(width, device=image.device), indexing="ij"
        )
        features = torch.cat([torch.stack([x, y]).float() / sigma_xy, image.float() / sigma_rgb])
        return cls((features.flatten(1) if inside is None else features[:, inside]).T)

    def filter(self, values: Tensor) -> Tensor:
        """W values: (N,C) -> (N,C) in the lattice's dtype. Linear, symmetric, differentiable by autograd."""
        if values.ndim != 2 or len(values) != len(self._corner_of):
            raise InputError(
                f"values are {tuple(values.shape)}: this lattice filters ({len(self._corner_of)},C)."
            )
        values = values.to(self._weights.dtype)
        points, weights, begins = self._splat
        splatted = F.embedding_bag(points, values, begins, mode="sum", per_sample_weights=weights)
        forward = backward = splatted
        for there, back in zip(self._neighbours, reversed(self._neighbours)):
            forward, backward = _bag(forward, *there), _bag(backward, *back)
        return _bag((forward + backward) * (self.scale / 2), self._corner_of, self._weights)

    @property
    def row_sums(self) -> Tensor:
        """W 1, shape (N,): how much weight every point gathers; always positive."""
        if self._row_sums is None:
            ones = self._weights.new_ones((len(self._corner_of), 1))
            self._row_sums = self.filter(ones)[:, 0]
        return self._row_sums

    def filter_mean(self, values: Tensor) -> Tensor:
        """Weighted means: D⁻¹ W values with D = diag(W 1), (N,C) -> (N,C); a constant stays what it is."""
        return self.filter(values) / self.row_sums[:, None]

    def filter_symmetric(self, values: Tensor) -> Tensor:
        """D^{-1/2} W D^{-1/2} values, (N,C) -> (N,C): the dense CRF's normalisation, symmetric like W."""
        root = self.row_sums.rsqrt()[:, None]
        return root * self.filter(root * values)


def _enclosing_simplices(features: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N,d) -> barycentric weights (d+1,N) and corners (d+1,d,N) int64 of the simplex around each.

    Section 3.1 of the paper. A corner has d+1 integer coordinates that sum to 0, hence d of them name it.
    """
    dimensions = features.shape[1]
    axes = dimensions + 1
    embedding = _embedding(dimensions).to(features) * (axes * DEVIATION)
    elevated = embedding @ (features - features.amin(0)).T  # (d+1,N), every column sums to 0
    farthest = float(elevated.abs().amax())
    if not farthest < LARGEST_KEY / 2:  # no int64 holds it
        raise _too_spread(dimensions, f"{farthest:g} lattice units")
    nearest = torch.round(elevated / axes)
    offset = elevated - nearest * axes
    # Rank 0 is the coordinate that exceeds its rounding most; ties go to the earlier coordinate.
    rank = torch.zeros_like(offset, dtype=torch.int64)
    for earlier in range(axes):
        for later in range(earlier + 1, axes):
            smaller = offset[earlier] < offset[later]
            rank[earlier] += smaller
            rank[later] += ~smaller
    # Roundings need not sum to 0: the surplus is taken back where rounding went furthest.
    nearest = nearest.long()
    rank += nearest.sum(0)
    correction = (rank < 0).long() - (rank > dimensions).long()
    nearest += correction
    rank += correction * axes
    base = nearest * axes
    fraction = (elevated - base) / axes
    by_rank = torch.empty_like(fraction).scatter_(0, rank, fraction)  # descending down the columns
    weights = torch.cat([1 + by_rank[-1:] - by_rank[:1], (by_rank[:-1] - by_rank[1:]).flip(0)]).clamp_(min=0)
    # Corner k lies k along every axis, and d+1 back along the k axes ranked last.
    k = torch.arange(axes, device=features.device)[:, None, None]
    corners = base[:dimensions] + k - axes * (rank[:dimensions] > dimensions - k)
    return weights, corners


def _embedding(dimensions: int) -> Tensor:
    """(d+1,d): orthonormal columns spanning the plane of zero-sum vectors; an isometry into it."""
    embedding = torch.zeros(dimensions + 1, dimensions, dtype=torch.float64)
    for column in range(dimensions):
        embedding[: column + 1, column] = 1
        embedding[column + 1, column] = -(column + 1)
    return embedding / torch.linalg.vector_norm(embedding, dim=0)


def _key_strides(corners: Tensor) -> list[int]:
    """Strides that give each cell in the box of the corners (d+1,d,N), plus a step around, its own key."""
    dimensions = corners.shape[1]
    spans = (corners.amax((0, 2)) - corners.amin((0, 2)) + 2 * (dimensions + 1) + 1).tolist()
    strides = [math.prod(spans[:dimension]) for dimension in range(dimensions)]
    reach = max(abs(int(corners.amin())), abs(int(corners.amax()))) + dimensions + 1
    if sum(strides) * reach > LARGEST_KEY:
        raise _too_spread(dimensions, f"a lattice box of {' × '.join(map(str, spans))}")
    return strides


def _too_spread(dimensions: int, extent: str) -> InputError:
    return InputError(
        f"the {dimensions} features spread over too many standard deviations to be numbered ({extent}): use larger "
        "standard deviations."
    )


def _dot(corners: Tensor, strides: list[int]) -> Tensor:
    """Keys (d+1,N) of corners (d+1,d,N)."""
    keys = corners[:, 0] * strides[0]
    for dimension, stride in enumerate(strides[1:], start=1):
        keys += corners[:, dimension] * stride
    return keys


def _axis_steps(strides: list[int]) -> list[int]:
    """What a step along each of the d+1 axes adds to a key: d+1 on that coordinate, −1 on all."""
    everywhere = -sum(strides)
    return [everywhere + (len(strides) + 1) * stride for stride in strides] + [everywhere]


def _numbered(keys: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Keys, weights (N,d+1) of every point's corners -> M distinct keys, vertex numbers (N,d+1), splatting.

    Splatting is slicing transposed: points and weights listed vertex by vertex, and where each vertex begins.
    """
    ordered, order = torch.sort(keys.flatten(), stable=True)
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    vertex_of = torch.empty_like(order)
    vertex_of[order] = first.cumsum(0) - 1
    begins = torch.nonzero(first)[:, 0]
    splat = order // keys.shape[1], weights.flatten()[order], begins
    return ordered[begins], vertex_of.reshape(keys.shape), splat


def _neighbours(keys: Tensor, step: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Sorted keys (M,) -> vertices (M,3) a blur along one axis reads, and their weights (0 where absent)."""
    own = torch.arange(len(keys), device=keys.device)
    following = torch.searchsorted(keys, keys + step).clamp_(max=len(keys) - 1)
    pairs = torch.nonzero(keys[following] == keys + step)[:, 0]
    neighbours = own[:, None].repeat(1, 3)
    weights = torch.zeros(neighbours.shape, dtype=dtype, device=keys.device)
    centre, ahead, behind = BLUR_KERNEL
    weights[:, 0] = centre
    neighbours[pairs, 1], weights[pairs, 1] = following[pairs], ahead
    neighbours[following[pairs], 2], weights[following[pairs], 2] = pairs, behind
    return neighbours, weights


def _bag(table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of rows of the table (M,C): rows, weights (N,k) -> (N,C)."""
    return F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights)
