"""Geodesic seed expansion: a map grows to the edges around its strongest part (UM-CAM, arXiv 2306.11490)."""

from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.csgraph import dijkstra
from torch import Tensor

from getam.errors import InputError
from getam.refine.neighbours import photo_sized

THRESHOLDS = tuple(step / 20 for step in range(1, 20))  # 0.05, 0.10, … 0.95
MARGIN = 5  # pixels between the box around the seed region and the background seeds
FALL_OFF = 1.0  # r: probabilities fall as exp(−r · distance)
CONTRAST = 1.0  # λ: 1 measures paths by contrast alone, 0 by length alone
EVERY_DIRECTION = np.ones((3, 3), dtype=int)

Array = NDArray[np.float64]
Variances = Literal["weighted", "mean"]
"""Of the two parts of a photo: what their threshold makes small."""


@torch.no_grad()
def geodesic_expansion(
    images: Tensor,
    maps: Tensor,
    *,
    fall_off: float = FALL_OFF,
    contrast: float = CONTRAST,
    margin: int = MARGIN,
    variances: Variances = "weighted",
) -> Tensor:
    """Blend every map with what lies close to its seed along paths that cross no edge of the photo.

    Per map M, brought to [0,1]:

    1. Seed region: the largest component of `M ≥ t`, with the t in 0.05 … 0.95 that splits the photo into the two
       parts of least variance, each weighted by its pixels (Otsu's criterion, on the photo). Foreground seed: its
       centroid. Background seeds: the corners of its bounding box, `margin` pixels further out.
    2. Geodesic distances D_f and D_b to the seeds over 8-connected pixels; a step costs
       `(1 − λ) · length + λ · |ΔI|`, |ΔI| the root mean square over the channels of the photo divided by its standard
       deviation.
    3. `P_f = exp(−r D_f)`, `P_b = 1 − exp(−r D_b)`; P is P_f where only that exceeds ½, P_b where only that is below
       ½, the one whose seed is nearer where both hold, ½ elsewhere.
    4. `w = relu(2 exp(−r min(D_f, D_b)) − 1)`; the result is `w P + (1 − w) M`, brought to [0,1].

    Deviations from the reference, made for single-channel slices: it takes the plain mean of the two variances
    (`variances="mean"`), which the hottest speck of a map makes small, for it hardly varies in itself, and then the
    thing around it is background; photos of three channels; every map of a photo on its own; the box grows on all
    four sides and is clipped (there the margin moves the box and widens it by one margin only); black pixels are no
    void, so a seed on one is a seed; shortest paths are exact (SciPy's Dijkstra), not raster scans. A map that no
    threshold splits, as one of zeros, is returned unchanged. Runs on the CPU.

    Args:
        images: (B,3,H,W), any dtype, values 0–255.
        maps: (B,K,h,w) ≥ 0, any size and magnitude: brought to (H,W) first (bilinear, aligned corners).
        fall_off: r > 0.
        contrast: λ in [0,1].
        margin: pixels, ≥ 0; the paper's images have 256 × 256.
        variances: "weighted" or "mean".

    Returns:
        (B,K,H,W) float32.

    Raises:
        InputError: shapes that do not fit together, values that are not finite, or numbers out of range.

    >>> photo = torch.zeros(1, 3, 9, 12); photo[..., 2:7, 3:9] = 255  # a bright box
    >>> spot = torch.zeros(1, 1, 9, 12); spot[..., 3:6, 4:7] = 1  # of which the map shows a part
    >>> box = photo[0, 0] > 0
    >>> torch.equal(geodesic_expansion(photo, spot, margin=3)[0, 0] > 0.5, box)
    True
    """
    if not fall_off > 0 or not 0 <= contrast <= 1 or margin < 0:
        raise InputError(
            f"fall_off {fall_off}, contrast {contrast}, margin {margin}: fall_off must be above 0, contrast within 0 "
            "and 1, the margin 0 or more."
        )
    if variances not in get_args(Variances):
        raise InputError(f"variances {variances!r}: choose one of {', '.join(get_args(Variances))}")
    expanded = photo_sized(images, maps).clone()
    for photo, image in enumerate(images.cpu().double().numpy()):
        scaled = image / (np.sqrt(image.var((1, 2)).mean()) or 1.0)  # a photo of one colour has no edges
        graph = _pixel_graph(scaled, contrast)
        for slot in range(maps.shape[1]):
            given = expanded[photo, slot].cpu().double().numpy()
            span = np.ptp(given)
            seeds = _seeds((given - given.min()) / span, scaled, margin, variances) if span > 0 else None
            if seeds is None:
                continue
            near, far = (_distances(graph, s).reshape(given.shape) for s in seeds)
            blended = _blend((given - given.min()) / span, near, far, fall_off)
            expanded[photo, slot] = torch.from_numpy(_to_unit(blended))
    return expanded


def _seeds(unit: Array, image: Array, margin: int, variances: Variances) -> tuple[set[int], set[int]] | None:
    """Map (H,W) in [0,1], image (3,H,W) -> raster indices of foreground and background seeds; None without a split."""
    threshold = _best_threshold(unit, image, variances)
    if threshold is None:
        return None
    height, width = unit.shape
    parts, count = ndimage.label(unit >= threshold, EVERY_DIRECTION)
    largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel(), minlength=count + 1)[1:]))
    y, x = np.nonzero(largest)
    centre = {int(np.rint(y.mean())) * width + int(np.rint(x.mean()))}
    top, bottom = max(y.min() - margin, 0), min(y.max() + margin, height - 1)
    left, right = max(x.min() - margin, 0), min(x.max() + margin, width - 1)
    return centre, {int(row * width + column) for row in (top, bottom) for column in (left, right)}


def _best_threshold(unit: Array, image: Array, variances: Variances) -> float | None:
    """The threshold whose two sides have the least mean of colour variances; None if none has two sides."""
    best: float = np.inf
    found: float | None = None
    for threshold in THRESHOLDS:
        inside = unit >= threshold
        if inside.all():  # never empty: a map in [0,1] reaches 1
            continue
        share = inside.mean() if variances == "weighted" else 0.5
        within = float(share * image[:, inside].var(1).mean() + (1 - share) * image[:, ~inside].var(1).mean())
        if within < best:
            best, found = within, threshold
    return found


def _pixel_graph(image: Array, contrast: float) -> sparse.csr_array:
    """Image (3,H,W) in standard deviations -> symmetric step costs (N,N) between neighbouring pixels."""
    height, width = image.shape[1:]
    # 32 bits: csgraph of SciPy 1.11 takes no others.
    index = np.arange(height * width, dtype=np.int32).reshape(height, width)
    starts, ends, costs = [], [], []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = np.s_[: height - dy, max(-dx, 0) : width - max(dx, 0)]
        there = np.s_[dy:, max(dx, 0) : width + min(dx, 0)]
        change = np.sqrt(np.square(image[:, *there] - image[:, *here]).mean(0))
        starts.append(index[here].ravel())
        ends.append(index[there].ravel())
        costs.append(((1 - contrast) * np.hypot(dy, dx) + contrast * change).ravel())
    first, second, cost = (np.concatenate(part) for part in (starts, ends, costs))
    # Explicit zeros are edges that cost nothing; both directions are stored, so none is ever summed.
    both = (np.concatenate([cost, cost]), (np.concatenate([first, second]), np.concatenate([second, first])))
    return sparse.csr_array(both, shape=(index.size, index.size))


def _distances(graph: sparse.csr_array, seeds: set[int]) -> Array:
    """Step costs (N,N) -> what the cheapest way of each pixel to any of the seeds costs (N,)."""
    found: Array = dijkstra(graph, indices=list(seeds), min_only=True)
    return found


def _blend(unit: Array, near: Array, far: Array, fall_off: float) -> Array:
    """Steps 3 and 4 for a map in [0,1] and its distances to foreground (near) and background seeds (far), all (H,W)."""
    front, back = np.exp(-fall_off * near), 1 - np.exp(-fall_off * far)
    in_front, behind = front > 0.5, back < 0.5
    P = np.full_like(unit, 0.5)
    P[behind] = back[behind]
    P[in_front] = front[in_front]
    torn = in_front & behind
    P[torn] = np.where(near <= far, front, back)[torn]
    w = np.maximum(2 * np.exp(-fall_off * np.minimum(near, far)) - 1, 0)
    return w * P + (1 - w) * unit


def _to_unit(values: Array) -> Array:
    span = np.ptp(values)
    return (values - values.min()) / span if span > 0 else values
