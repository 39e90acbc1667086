"""Photos with a single tag need no map: what is salient is that class. The simple images of MDBA (arXiv 2305.05154)."""

from __future__ import annotations

import torch
from torch import Tensor

from getam.errors import InputError
from getam.label_numbers import IGNORE
from getam.labels.inputs import require_levels, require_shallow, unit_saliency

HIGH, LOW = 0.5, 0.2  # ours, not tuned: the paper's code ships finished labels and no thresholds


def saliency_label(saliency: Tensor, classes: Tensor, *, high: float = HIGH, low: float = LOW) -> Tensor:
    """Pseudo labels of photos with one tag: its class above `high`, 0 below `low`, 255 between.

    Photos with more tags, or none, say nothing about whose pixels are salient: they are 255 everywhere. (MDBA keeps
    the former for its image-level losses; it has none of the latter.)

    Args:
        saliency: (B,H,W) in [0,1], or bool.
        classes: (B,K) int64 class index per slot, −1 where there is none.
        high: saliency above it is the object.
        low: saliency below it is background; ≤ `high`.

    Returns:
        (B,H,W) uint8: 0 background, class index + 1, 255 undecided.

    Raises:
        InputError: shapes that do not belong together, saliency outside [0,1] or not finite, or levels out of order.

    >>> saliency_label(torch.tensor([[[0.0, 0.3, 0.9]]]), torch.tensor([[-1, 11]])).tolist()
    [[[0, 255, 12]]]
    """
    if saliency.ndim != 3 or classes.ndim != 2 or len(saliency) != len(classes):
        raise InputError(
            f"saliency {tuple(saliency.shape)} and classes {tuple(classes.shape)} do not belong together: "
            "expected (B,H,W) and (B,K)."
        )
    require_levels(high=high, low=low)
    require_shallow(classes)
    unit = unit_saliency(saliency)
    label = torch.full(unit.shape, IGNORE, dtype=torch.uint8, device=unit.device)
    label[unit < low] = 0
    only = classes.amax(1) if classes.shape[1] else classes.new_full((len(classes),), -1)
    names = (only.clamp(min=0) + 1).to(torch.uint8)[:, None, None].expand_as(label)
    label = torch.where(unit > high, names, label)
    label[(classes >= 0).sum(1) != 1] = IGNORE
    return label


def single_tagged(tags: Tensor, known: Tensor | None = None) -> Tensor:
    """Which photos are known to show exactly one class: (B,) bool.

    Args:
        tags: (B,C) in {0,1}.
        known: (B,C) bool, false where nobody looked for the class: it may be there as well; all are known if None.

    >>> single_tagged(torch.tensor([[0, 1], [1, 1], [0, 0]])).tolist()
    [True, False, False]
    """
    one = (tags > 0).sum(1) == 1
    return one if known is None else one & known.all(1)
