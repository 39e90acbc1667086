"""AFA (arXiv 2203.02664): which patches belong together by a pseudo label, and how far an affinity is from that."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.attention.calls import wide
from getam.label_numbers import IGNORE
from getam.losses.counts import divisor
from getam.refine.random_walk import window

RADIUS = 8  # arXiv 2203.02664: pairs of patches further apart, along either axis, are not asked about


def affinity_labels(
    label: Tensor, grid: tuple[int, int], *, radius: int = RADIUS, ignore: int = IGNORE
) -> Tensor:
    """Pairs of patches: 1 the same class, 0 two classes, 255 undecided or further apart than `radius`.

    A patch has the label of the pixel at its centre; background is a class, and a patch makes a pair with itself.

    Args:
        label: (B,H,W) integer, 0 background, 1..C classes, `ignore` undecided.
        grid: (h, w) of the patches.
        radius: in patches along each axis: the window is (2·radius + 1)².
        ignore: `ignore_label` of the class list: 255, or 65535 beyond 254 classes.

    Returns:
        (B,N,N) uint8, N = h·w, symmetric; 255 for pairs that are not asked about, whatever `ignore` is.

    >>> affinity_labels(torch.tensor([[[0, 0, 2, 255]]]), (1, 4), radius=1)[0].tolist()
    [[1, 1, 255, 255], [1, 1, 0, 255], [255, 0, 1, 255], [255, 255, 255, 255]]
    """
    patches = F.interpolate(label[:, None].float(), size=grid, mode="nearest-exact").flatten(1)
    same = (patches[:, :, None] == patches[:, None, :]).to(torch.uint8)
    decided = patches != ignore
    asked = decided[:, :, None] & decided[:, None, :] & window(grid, radius, device=label.device)
    return same.masked_fill(~asked, IGNORE)


def affinity_loss(affinity: Tensor, labels: Tensor) -> Tensor:
    """L_aff = ½ Σ_same (1 − a) / (n_same + 1) + ½ Σ_different a / (n_different + 1), over the pairs of the batch.

    The + 1 keeps a set without pairs finite: it gives 0, with a graph.

    Args:
        affinity: (B,N,N) in [0,1].
        labels: as `affinity_labels` gives them.

    Returns:
        Scalar in [0,1).

    >>> found = affinity_loss(torch.tensor([[[0.75, 0.5], [0.5, 0.25]]]), torch.tensor([[[1, 0], [255, 1]]]))
    >>> round(found.item(), 6)
    0.291667
    """
    affinity = wide(affinity)
    same, different = labels == 1, labels == 0
    apart = torch.where(same, 1 - affinity, 0.0).sum() / divisor(same.sum(), beside=1)
    together = torch.where(different, affinity, 0.0).sum() / divisor(different.sum(), beside=1)
    return 0.5 * (apart + together)
