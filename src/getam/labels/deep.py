"""Labels of more classes than 8 bits hold. Labellers know the classes of one photo only, and those are few."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from getam.errors import InputError
from getam.label_numbers import DEEP_IGNORE, IGNORE, SHALLOW_CLASSES, is_deep


def torch_label_dtype(classes: int) -> torch.dtype:
    """Type of label maps of that many classes: uint8, or int32, since torch hardly calculates in uint16."""
    return torch.int32 if is_deep(classes) else torch.uint8


def label_among(count: int, classes: Tensor, label: Callable[[Tensor], Tensor]) -> Tensor:
    """What a labeller says, in the numbers of a class list of any length.

    Beyond 254 classes it is asked with the classes of each photo numbered anew, in their order, and its answer is
    brought back.

    Args:
        count: length of the class list.
        classes: (B,K) int64 class index per slot, −1 where there is none.
        label: classes (B,K), indices up to 253 → (B,H,W) uint8: 0 background, class index + 1, 255 undecided.

    Returns:
        (B,H,W) uint8, or int32 beyond 254 classes, where undecided is 65535.

    Raises:
        InputError: a photo of more than 254 classes.

    >>> ask = lambda classes: torch.tensor([[[0, 1, 2, 255]]], dtype=torch.uint8)
    >>> label_among(300, torch.tensor([[289, 12]]), ask).tolist()
    [[[0, 13, 290, 65535]]]
    """
    if not is_deep(count):
        return label(classes)
    if classes.shape[1] > SHALLOW_CLASSES and int((classes >= 0).sum(1).max()) > SHALLOW_CLASSES:
        raise InputError(
            f"a photo has {int((classes >= 0).sum(1).max())} tags: labels are made of {SHALLOW_CLASSES} at most; "
            "leave out those that fill the fewest pixels"
        )
    absent = classes < 0
    own = classes.argsort(1).argsort(1) - absent.sum(1, keepdim=True)
    own = own.masked_fill(absent, -1)
    names = torch.zeros(len(classes), IGNORE + 1, dtype=torch.int32, device=classes.device)
    names[:, IGNORE] = DEEP_IGNORE
    photo, slot = (~absent).nonzero(as_tuple=True)
    names[photo, own[photo, slot] + 1] = (classes[photo, slot] + 1).to(torch.int32)
    found = label(own)
    return names.to(found.device).gather(1, found.flatten(1).long()).view_as(found)
