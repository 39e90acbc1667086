"""Class-aware attention affinity (CLIP-ES, arXiv 2212.09506): a map spreads along attention, inside its own boxes.

    D = doubly stochastic of the attention of the last blocks, by Sinkhorn;  A = (D + Dᵀ) / 2;  M' = B_c ⊙ Aᵗ vec(M_c)

B_c: the boxes around the connected parts of the map of class c that are above λ.
"""

from __future__ import annotations

import numpy as np
import scipy.ndimage
import torch
from torch import Tensor

from getam.errors import InputError
from getam.refine.random_walk import require_affinity

LAST_BLOCKS = 8  # of which attention is averaged; all, where there are fewer
POWER = 2  # t of the paper
THRESHOLD = 0.4  # λ of the paper on VOC; 0.7 on COCO
ROUNDS, CLOSE = 100, 1e-4  # Sinkhorn ends when all sums are this close to 1, or after so many rounds


@torch.no_grad()
def class_aware_affinity(
    maps: Tensor, attention: Tensor, *, power: int = POWER, threshold: float = THRESHOLD
) -> Tensor:
    """`B_c ⊙ Aᵗ vec(M_c)` for every map.

    Args:
        maps: (B,K,h,w) ≥ 0, on the patch grid.
        attention: (B,N,N) ≥ 0 with N = h·w, patches in raster order: how much query patch i attends to patch j.
        power: t, how often A is applied.
        threshold: λ in [0,1]: of the range of a map, from its minimum to its maximum.

    Returns:
        (B,K,h,w) float32 ≥ 0.

    Raises:
        InputError: sizes that do not fit together, values that are not finite, negative attention, or options out of
            range.

    >>> row = torch.tensor([[[[1.0, 0.0, 0.0, 0.0]]]])  # one of four patches, which attend to all alike
    >>> class_aware_affinity(row, torch.ones(1, 4, 4)).tolist()  # spread to four, of which its box holds one
    [[[[0.25, 0.0, 0.0, 0.0]]]]
    """
    require_affinity(maps, attention, name="attention")
    if power < 0 or not 0 <= threshold <= 1:
        raise InputError(f"power {power} must be 0 or more, and threshold {threshold} from 0 to 1")
    shared = doubly_stochastic(attention)
    affinity = (shared + shared.mT) / 2
    spread = maps.float().flatten(2).transpose(1, 2)  # (B,N,K)
    for _ in range(power):
        spread = affinity @ spread
    return spread.transpose(1, 2).reshape(maps.shape) * box_mask(maps, threshold)


def doubly_stochastic(attention: Tensor) -> Tensor:
    """Rows and columns of (B,N,N) ≥ 0 divided by their sums in turn, until all are 1 (Sinkhorn and Knopp 1967).

    Rows are divided last. Where zeros leave no such matrix, it is what `ROUNDS` rounds give. float32.
    """
    found = attention.float()
    tiny = torch.finfo(found.dtype).tiny
    for _ in range(ROUNDS):
        found = found / found.sum(1, keepdim=True).clamp(min=tiny)
        found = found / found.sum(2, keepdim=True).clamp(min=tiny)
        if not found.numel() or float((found.sum(1) - 1).abs().max()) < CLOSE:
            break
    return found


def box_mask(maps: Tensor, threshold: float) -> Tensor:
    """(B,K,h,w) bool: the bounding boxes of the parts of each map that are at least min + threshold · (max − min).

    Patches that touch, at a corner too, are one part.

    >>> box_mask(torch.tensor([[[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]]), 0.4).int().tolist()
    [[[[1, 1, 0], [1, 1, 0], [0, 0, 0]]]]
    """
    if not maps.numel():
        return torch.zeros_like(maps, dtype=torch.bool)
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    above = (maps >= low + threshold * (high - low)).cpu().numpy()
    boxes = np.zeros(above.shape, bool)
    for place in np.ndindex(above.shape[:2]):
        parts, _ = scipy.ndimage.label(above[place], structure=np.ones((3, 3)))
        for part in scipy.ndimage.find_objects(parts):
            boxes[(*place, *part)] = True
    return torch.from_numpy(boxes).to(maps.device)
