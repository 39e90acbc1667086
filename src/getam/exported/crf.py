"""The dense CRF of `getam.refine.crf` in NumPy and SciPy, for masks of exported networks: the same steps and numbers.

There the lattice is made of gathers that torch can differentiate and run on a GPU; here it is three kinds of sparse
matrix. The tests hold one against the other.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse

from getam.exported.arrays import Floats
from getam.photo_size import seen_size
from getam.refine.crf_parameters import DEEPLAB, ITERATIONS, SMALLEST_PROBABILITY, SPATIAL_REACH

BLUR = (
    0.5,
    0.25,
)  # centre and either neighbour along one axis of the lattice (Adams et al., 2010, section 3.2)
DEVIATION = math.sqrt(
    2 / 3
)  # of splatting, blurring and slicing together, in (d+1) lattice units (section 3.3)


def as_seen(photo: Floats, beliefs: Floats) -> tuple[Floats, Floats]:
    """A photo (3,H,W) and its probabilities (C,H,W) as the CRF sees them: their means at a long side of 500 at most."""
    size = seen_size(*beliefs.shape[1:])
    return averaged(photo, size), averaged(beliefs, size)


def averaged(values: Floats, size: tuple[int, int]) -> Floats:
    """(C,H,W) → (C,h,w), means over areas as torch's "area": pixels that an area only touches count whole."""
    if values.shape[1:] == size:
        return values
    down, across = (_areas(length, wanted) for length, wanted in zip(values.shape[1:], size, strict=True))
    return np.matmul(np.matmul(down, values), across.T, dtype=np.float32)


def _areas(length: int, wanted: int) -> Floats:
    """(wanted,length): rows that take means."""
    starts = np.arange(wanted) * length // wanted
    ends = -(-(np.arange(wanted) + 1) * length // wanted)
    places = np.arange(length)
    inside = (places >= starts[:, None]) & (places < ends[:, None])
    return (inside / inside.sum(1, keepdims=True)).astype(np.float32)


def dense_crf(photo: Floats, beliefs: Floats) -> Floats:
    """Mean field of a fully connected CRF with DeepLab's kernels: `getam.refine.crf.dense_crf` of one photo.

    Args:
        photo: (3,H,W) in 0–255.
        beliefs: (C,H,W), probabilities.

    Returns:
        (C,H,W) float32, summing to 1 over C.
    """
    classes, height, width = beliefs.shape
    unary = np.log(np.maximum(beliefs, np.float32(SMALLEST_PROBABILITY))).reshape(classes, -1).T
    lattice = Lattice(bilateral_features(photo, DEEPLAB.bilateral_sigma_xy, DEEPLAB.bilateral_sigma_rgb))
    root = np.reciprocal(np.sqrt(lattice.filter(np.ones((height * width, 1), np.float32))), dtype=np.float32)
    gathered = _blurred(np.ones((height, width, 1), np.float32), DEEPLAB.spatial_sigma)
    around = np.reciprocal(np.sqrt(gathered), dtype=np.float32)
    Q = _softmax(unary)
    for _ in range(ITERATIONS):
        spatial = around * _blurred(around * Q.reshape(height, width, classes), DEEPLAB.spatial_sigma)
        alike = root * lattice.filter(root * Q)
        Q = _softmax(
            unary
            + np.float32(DEEPLAB.spatial_weight) * spatial.reshape(-1, classes)
            + np.float32(DEEPLAB.bilateral_weight) * alike
        )
    return np.ascontiguousarray(Q.T).reshape(classes, height, width)


def bilateral_features(photo: Floats, sigma_xy: float, sigma_rgb: float) -> Floats:
    """(H·W,5): each pixel's x, y, red, green and blue in units of their standard deviations."""
    y, x = np.indices(photo.shape[1:], np.float32)
    places = np.stack([x, y]) / np.float32(sigma_xy)
    return np.concatenate([places, photo / np.float32(sigma_rgb)]).reshape(5, -1).T


class Lattice:
    """The Gaussian filter W of `getam.refine.lattice.PermutohedralLattice`, as sparse matrices.

    Args:
        features: (N,d), in units of the filter's standard deviation.
    """

    def __init__(self, features: Floats) -> None:
        axes = features.shape[1] + 1
        weights, corners = _simplices(features)
        spans = np.ptp(corners, axis=(0, 1)) + 2 * axes + 1
        strides = np.concatenate([[1], np.cumprod(spans[:-1])])
        keys, vertices = np.unique((corners * strides).sum(2), return_inverse=True)
        points = np.broadcast_to(np.arange(len(features)), weights.shape)
        shape = (len(features), len(keys))
        self._slice = sparse.csr_array(
            (weights.ravel(), (points.ravel(), vertices.ravel())), shape=shape, dtype=np.float32
        )
        self._splat = self._slice.T.tocsr()
        everywhere = -strides.sum()
        steps = [*(everywhere + axes * strides), everywhere]
        self._blurs = [_blur_along(keys, step) for step in steps]
        self._scale = np.float32((4 * math.pi / 3) ** ((axes - 1) / 2) * math.sqrt(axes))

    def filter(self, values: Floats) -> Floats:
        """W values: (N,C) → (N,C); the mean of blurring along the axes in both orders, which makes it symmetric."""
        forward = backward = self._splat @ values
        for there, back in zip(self._blurs, reversed(self._blurs), strict=True):
            forward, backward = there @ forward, back @ backward
        return self._slice @ ((forward + backward) * (self._scale / 2))


def _simplices(features: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Features (N,d) → barycentric weights (d+1,N) and corners (d+1,N,d) of the simplex around each (section 3.1)."""
    dimensions = features.shape[1]
    axes = dimensions + 1
    embedding = np.zeros((axes, dimensions), np.float64)
    for column in range(dimensions):
        embedding[: column + 1, column], embedding[column + 1, column] = 1, -(column + 1)
    embedding *= axes * DEVIATION / np.linalg.norm(embedding, axis=0)
    elevated = (features - features.min(0)) @ embedding.T.astype(np.float32)  # (N,d+1), rows sum to 0
    nearest = np.rint(elevated / axes).astype(np.int64)
    offset = elevated - nearest * axes
    # Rank 0 is the coordinate that exceeds its rounding most; the surplus of the roundings is taken back where they
    # went furthest.
    rank = np.argsort(np.argsort(-offset, axis=1, kind="stable"), axis=1) + nearest.sum(1, keepdims=True)
    correction = (rank < 0).astype(np.int64) - (rank > dimensions)
    nearest += correction
    rank += correction * axes
    fraction = (elevated - nearest * axes) / np.float32(axes)
    by_rank = np.empty_like(fraction)
    np.put_along_axis(by_rank, rank, fraction, 1)  # descending along the rows
    weights = np.concatenate(
        [1 + by_rank[:, -1:] - by_rank[:, :1], (by_rank[:, :-1] - by_rank[:, 1:])[:, ::-1]], 1
    )
    k = np.arange(axes)[
        :, None, None
    ]  # corner k lies k along every axis, and d+1 back along the k ranked last
    corners = (nearest * axes)[:, :dimensions] + k - axes * (rank[:, :dimensions] > dimensions - k)
    return weights.T.clip(min=0), corners


def _blur_along(keys: npt.NDArray[np.int64], step: int) -> sparse.csr_array:
    """(M,M): half of each vertex and a quarter of both neighbours along an axis, where there are any."""
    following = np.searchsorted(keys, keys + step).clip(max=len(keys) - 1)
    (own,) = np.nonzero(keys[following] == keys + step)
    ahead = sparse.coo_array(
        (np.full(len(own), BLUR[1], np.float32), (own, following[own])), shape=(len(keys), len(keys))
    )
    return (
        (ahead + ahead.T + BLUR[0] * sparse.eye_array(len(keys), dtype=np.float32)).tocsr().astype(np.float32)
    )


def _blurred(planes: Floats, sigma: float) -> Floats:
    """(H,W,C) under a Gaussian, 1 in its middle; beyond the photo there is nothing."""
    reach = math.ceil(SPATIAL_REACH * sigma)
    taps = np.exp(-((np.arange(-reach, reach + 1) / sigma) ** 2) / 2)
    for axis in (0, 1):
        planes = ndimage.correlate1d(planes, taps, axis, mode="constant")
    return planes


def _softmax(values: Floats) -> Floats:
    """(N,C) → over C."""
    powers = np.exp(values - values.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)
