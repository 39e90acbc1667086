"""Labels of a photo's small copy brought to the photo's size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def enlarged(label: Tensor, size: tuple[int, int]) -> Tensor:
    """Each pixel takes the label that has the largest bilinear share of it: outlines stay smooth, no class is invented.

    One label after the other and its shares in 8 bits: memory is a few bytes a pixel, however many labels there are.
    Shares that are equal in 8 bits go to the lower number.

    Args:
        label: (h,w) integer.
        size: (H,W), no smaller.

    Returns:
        (H,W) of the same type, on the device of `label`; the label itself where it has that size.

    >>> enlarged(torch.tensor([[0, 7]], dtype=torch.uint8), (2, 6)).tolist()
    [[0, 0, 0, 7, 7, 7], [0, 0, 0, 7, 7, 7]]
    """
    if tuple(label.shape) == size:
        return label
    small = label.cpu()
    winner = torch.zeros(size, dtype=label.dtype)
    largest = torch.zeros(size, dtype=torch.uint8)
    for value in small.unique().tolist():
        share = (small == value).byte().mul_(255)[None, None]
        share = F.interpolate(share, size=size, mode="bilinear")[0, 0]
        more = share > largest
        winner.masked_fill_(more, value)
        torch.maximum(largest, share, out=largest)
    return winner.to(label.device)
