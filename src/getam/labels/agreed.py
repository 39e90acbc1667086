"""What two labels of a photo say alike: of two that err in different places, the rest is where either may err."""

from __future__ import annotations

import torch
from torch import Tensor

from getam.errors import InputError
from getam.label_numbers import ignore_label


def agreed(one: Tensor, other: Tensor, count: int) -> Tensor:
    """The label where both are the same, undecided elsewhere.

    Args:
        one, other: (H,W) integers: 0 background, class index + 1, undecided 255, or 65535 beyond 254 classes.
        count: length of the class list.

    Returns:
        (H,W) of the dtype of `one`.

    Raises:
        InputError: labels of two sizes.

    >>> agreed(torch.tensor([[0, 1, 2]], dtype=torch.uint8), torch.tensor([[0, 2, 2]]), 3).tolist()
    [[0, 255, 2]]
    """
    if one.shape != other.shape:
        raise InputError(f"labels of {tuple(one.shape)} and {tuple(other.shape)} are not of one photo")
    return torch.where(one == other, one, torch.full_like(one, ignore_label(count)))
