"""Activation-aware label completion: saliency says where objects are, the maps say which, and put back what it missed.

Source: GETAM (arXiv 2112.02841), section "activation-aware label completion". The saliency-free twin is
`labels/free.py`.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from getam.errors import InputError
from getam.label_numbers import IGNORE
from getam.labels.inputs import require_fitting

BACKGROUND_POWER = 32  # bg = (1 − max map)^32
COMPLETION_QUANTILE, COCO_QUANTILE = 0.9, 0.95  # of the paper: on VOC, and on COCO
OPENING = 10  # side of the box of the final opening, pixels


def complete(
    maps: Tensor,
    classes: Tensor,
    saliency: Tensor,
    *,
    quantile: float = COMPLETION_QUANTILE,
    background_power: int = BACKGROUND_POWER,
    opening: int = OPENING,
    salient: float = 0.0,
) -> Tensor:
    """Pseudo labels from maps and saliency.

    0. A photo's only tag whose map is nowhere positive counts as 1 everywhere: with one tag saliency says it all. Ours;
       CAMs of a class that a network has hardly seen are empty (docs/differences.md).
    1. bg = (1 − max map)^power; the label is the arg-max over [bg, maps]; where bg wins → 255; where not salient → 0.
    2. Completion: for each present class in ascending order, pixels above the `quantile` of its positive values that
       are labelled 0 become that class.
    3. Specks: what a morphological opening of (label ≠ 0) with a box removes becomes 0.

    Args:
        maps: (B,K,H,W) float in [0,1], refined and normalised; slots beyond a photo's tags are ignored.
        classes: (B,K) int64 class index 0..C−1 per slot, −1 where there is none.
        saliency: (B,H,W), > `salient` = salient (bool, uint8 or float).
        quantile: of the positive values of each map, in (0,1): the value at index int(q · count) when sorted.
        background_power: exponent of the background score.
        opening: side of the box in pixels; 0 skips the step.
        salient: the level saliency must be above.

    Returns:
        (B,H,W) uint8 on the device of `maps`: 0 background, class index + 1, 255 ignore.

    Raises:
        InputError: shapes that do not belong together, values that are not finite, or a quantile outside (0,1).
    """
    require_fitting(maps, classes, saliency=saliency)
    if not 0 < quantile < 1:
        raise InputError(f"the quantile {quantile} must lie between 0 and 1, both excluded.")
    maps = _only_tags_without_map(maps.float(), classes)
    label = arg_max_label(maps, classes, background_power)
    label[saliency <= salient] = 0
    label = _put_back(label, maps, classes, quantile)
    return open_specks(label, opening)


def arg_max_label(maps: Tensor, classes: Tensor, background_power: int = BACKGROUND_POWER) -> Tensor:
    """Step 1 without saliency: (B,H,W) uint8, class index + 1 where a map wins, 255 where the background score does."""
    if maps.shape[1] == 0:
        return torch.full((maps.shape[0], *maps.shape[-2:]), IGNORE, dtype=torch.uint8, device=maps.device)
    usable = maps.masked_fill((classes < 0)[..., None, None], 0.0)
    best, slot = usable.max(1)
    background = (1 - best).clamp(min=0) ** background_power
    names = (classes.clamp(min=0) + 1).to(torch.uint8)
    winner = names.gather(1, slot.flatten(1)).view_as(slot)
    return torch.where(background >= best, IGNORE, winner).to(torch.uint8)


def _only_tags_without_map(maps: Tensor, classes: Tensor) -> Tensor:
    """Step 0: (B,K,H,W) → the same, 1 everywhere for photos with one tag and nothing above 0 in its map."""
    present = classes >= 0
    mapped = ((maps > 0) & present[..., None, None]).flatten(1).any(1)
    return maps.masked_fill(((present.sum(1) == 1) & ~mapped)[:, None, None, None], 1.0)


def _put_back(label: Tensor, maps: Tensor, classes: Tensor, quantile: float) -> Tensor:
    """Step 2: strong responses that saliency missed become their class and count as salient from then on.

    Classes claim in ascending order, whatever the order of the slots, so a contested pixel goes to the lower index:
    what the reference outputs show (`docs/differences.md`).
    """
    completed = label.clone()
    present = sorted(
        (int(classes[photo, slot]), photo, slot) for photo, slot in (classes >= 0).nonzero().tolist()
    )
    for c, photo, slot in present:
        values = maps[photo, slot]
        positive = values[values > 0]
        if positive.numel() == 0:
            continue
        threshold = positive.kthvalue(int(quantile * positive.numel()) + 1).values
        completed[photo][(completed[photo] == 0) & (values > threshold)] = c + 1
    return completed


def open_specks(label: Tensor, side: int = OPENING) -> Tensor:
    """Step 3: (B,H,W) uint8 → the same with every part of (label ≠ 0) that no `side` × `side` box fits into set to 0.

    The photo's border does not erode. Erosion and dilation use the same window, as the reference does: an even box
    moves its result by one pixel towards the lower right.
    """
    if side <= 1 or label.numel() == 0:
        return label
    kept = []
    for mask in (label != 0).cpu().numpy().astype(np.uint8):
        eroded = ndimage.minimum_filter(mask, side, mode="constant", cval=1)
        kept.append(ndimage.maximum_filter(eroded, side, mode="constant", cval=0))
    return label.masked_fill(torch.from_numpy(np.stack(kept) == 0).to(label.device), 0)
