"""CutMix for pixel labels: a box of one photo pasted into another, label and all (Yun et al., arXiv 1905.04899)."""

from __future__ import annotations

import torch
from torch import Tensor

Box = tuple[int, int, int, int]  # top, bottom, left, right, the ends beyond the box


def draw_box(height: int, width: int) -> Box:
    """A box of the photo's shape that holds a share of it drawn uniformly from [0,1], cut at the photo's edges.

    Its centre is anywhere in the photo. The share is the paper's 1 − λ, with λ from Beta(1,1). Draws from torch's
    global random numbers.
    """
    share, down, right = torch.rand(3).tolist()
    half_height, half_width = (round(side * share**0.5) / 2 for side in (height, width))
    y, x = down * height, right * width
    top, bottom = (min(height, max(0, round(y + end))) for end in (-half_height, half_height))
    left, right_end = (min(width, max(0, round(x + end))) for end in (-half_width, half_width))
    return top, bottom, left, right_end


def cut_mix(images: Tensor, labels: Tensor, box: Box) -> tuple[Tensor, Tensor]:
    """Every photo (B,3,H,W) and label (B,H,W) with the box of the one before it in the batch; copies.

    >>> mixed, label = cut_mix(torch.zeros(2, 3, 1, 3), torch.tensor([[[1, 1, 1]], [[2, 2, 2]]]), (0, 1, 1, 2))
    >>> label.tolist()
    [[[1, 2, 1]], [[2, 1, 2]]]
    """
    images, labels = images.clone(), labels.clone()
    place = (..., slice(box[0], box[1]), slice(box[2], box[3]))
    images[place], labels[place] = images.roll(1, 0)[place], labels.roll(1, 0)[place]
    return images, labels
