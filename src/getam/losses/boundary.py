"""IRN (arXiv 1904.05044): class boundaries learned from pairs of cells; seeds say which pairs are one class."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from getam.attention.calls import wide
from getam.label_numbers import IGNORE
from getam.losses.counts import divisor
from getam.refine.boundary import pair_offsets, path_peaks, seconds

RADIUS = 10  # arXiv 1904.05044: cells this far apart, by Euclid, are not asked about; twice the walk's
OUTSIDE = 1e4  # logit beyond the grid, where no pair is asked about: a boundary for certain, and finite


class BoundaryLosses(NamedTuple):
    """Means of L_B over pairs of background, of one class, and of two: scalars, 0 with a graph where there are none."""

    background: Tensor
    foreground: Tensor
    different: Tensor


def boundary_losses(
    logits: Tensor, label: Tensor, *, radius: int = RADIUS, ignore: int = IGNORE
) -> BoundaryLosses:
    """The terms of L_B = ½ mean_bg(−log a) + ½ mean_fg(−log a) + mean_different(−log(1 − a)), unweighted.

    a_ij = 1 − max over the path from i to j of σ(logit) (`refine.boundary.path`), so that −log a is the softplus of the
    path's largest logit and −log(1 − a) that of its negative: exact, without the constant in the published code's
    logarithms.

    Args:
        logits: (B,h,w) of class boundaries.
        label: (B,H,W) integer, 0 background, 1..C classes, `ignore` undecided; a cell has the label of the pixel at
            its centre.
        radius: cells this far apart or further make no pair.
        ignore: `ignore_label` of the class list; pairs with such a cell are not asked about.

    >>> import torch
    >>> label = torch.tensor([[[0, 0, 2, 255]]])
    >>> [round(term.item(), 4) for term in boundary_losses(torch.zeros(1, 1, 4), label, radius=2)]
    [0.6931, 0.0, 0.6931]
    """
    logits = wide(logits)
    cells = F.interpolate(label[:, None].float(), size=logits.shape[1:], mode="nearest-exact")[:, 0]
    offsets = pair_offsets(radius)
    peaks = path_peaks(logits, offsets, OUTSIDE)
    first, second = cells[:, None], seconds(cells, offsets, float(ignore))
    asked = (first != ignore) & (second != ignore)
    same = asked & (first == second)

    def mean(losses: Tensor, chosen: Tensor) -> Tensor:
        return losses[chosen].sum() / divisor(chosen.sum())

    return BoundaryLosses(
        mean(F.softplus(peaks), same & (first == 0)),
        mean(F.softplus(peaks), same & (first > 0)),
        mean(F.softplus(-peaks), asked & (first != second)),
    )
