"""How sure a label rule can be of each class it painted: the class's share of the belief its maps say.

A class's confidence is the mean, over the pixels that have it in the label, of m_c / (β + Σ m_k): its map against those
of all tags of the photo and the rule's strict background level β (of "completion", (1 − max map)^power at each pixel).
It is taken before any CRF, after which every share is near 1; so is `predict`'s, the network's own probability.
Maps have a peak of 1 in every photo, also where the class is not there: the number orders pixels and photos, it is no
probability of being right. A photo's only tag, painted by saliency because its map is empty, has 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from getam.labels.free import FOREGROUND
from getam.labels.registry import find_labeller

LEVEL = (
    "foreground",
    "high",
)  # what rules call their strict background level; those without have that of "free"


def label_beliefs(
    name: str, maps: Tensor | None, saliency: Tensor | None, options: Mapping[str, Any]
) -> Tensor:
    """Shares of background and of the classes, summing to 1 at every pixel.

    Args:
        name: of the label rule.
        maps: (K,h,w) in [0,1]; None for the rule that looks at saliency alone: its one class has the saliency.
        saliency: (h,w) in [0,1], used where `maps` is None.
        options: those of the rule that are set.

    Returns:
        (1+K,h,w) float32, background first.

    >>> label_beliefs("free", torch.tensor([[[0.75, 0.25]]]), None, {}).tolist()
    [[[0.25, 0.5]], [[0.75, 0.5]]]
    """
    if maps is None:
        assert saliency is not None
        return torch.stack([1 - saliency.float(), saliency.float()])
    values = maps.float()
    numbers = {**find_labeller(name).options, **options}
    if "background_power" in numbers:
        background = (1 - values.amax(0)).clamp(min=0) ** numbers["background_power"]
    else:
        level = next((numbers[each] for each in LEVEL if each in numbers), FOREGROUND)
        background = torch.full_like(values[0], level)
    beliefs = torch.cat([background[None], values])
    return beliefs / beliefs.sum(0, keepdim=True).clamp(min=1e-12)


def slots_of(label: Tensor, classes: Tensor) -> Tensor:
    """Label (h,w) uint8 of classes (K,) → (h,w) int64: 0 background, k + 1 of the k-th class, −1 undecided.

    >>> slots_of(torch.tensor([[0, 8, 255]], dtype=torch.uint8), torch.tensor([2, 7])).tolist()
    [[0, 2, -1]]
    """
    slots = torch.full(label.shape, -1, dtype=torch.int64, device=label.device)
    slots[label == 0] = 0
    for slot, number in enumerate(classes.tolist(), start=1):
        slots[label == number + 1] = slot
    return slots
