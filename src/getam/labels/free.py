"""Label completion without a saliency map: the maps alone decide what is background. Ours, not the paper's.

Two thresholds on the strongest map: confident pixels become their class, weak ones background, the rest 255.
"""

from __future__ import annotations

import torch
from torch import Tensor

from getam.labels.completion import IGNORE, arg_max_label, open_specks

FOREGROUND = 0.35
BACKGROUND = 0.2
OPENING = 9  # odd, so that the box is centred: unlike the paper's 10 it moves nothing


def complete_without_saliency(
    maps: Tensor,
    classes: Tensor,
    images: Tensor,
    *,
    foreground: float = FOREGROUND,
    background: float = BACKGROUND,
    opening: int = OPENING,
) -> Tensor:
    """Pseudo labels from maps alone.

    Args:
        maps: (B,K,H,W) float in [0,1], refined and normalised.
        classes: (B,K) int64, −1 where there is none.
        images: (B,3,H,W) in 0–255.
        foreground: a pixel whose strongest map is above this becomes that class.
        background: a pixel whose strongest map is below this becomes 0.
        opening: side of the box that specks must hold, pixels; 0 or 1 keeps everything.

    Returns:
        (B,H,W) uint8, 0 background, class index + 1, 255 undecided.
    """
    label = arg_max_label(maps, classes)
    best = maps.masked_fill((classes < 0)[..., None, None], 0.0).amax(1)
    label = torch.where(best >= foreground, label, torch.where(best < background, 0, IGNORE)).to(torch.uint8)
    return open_specks(label, opening)
