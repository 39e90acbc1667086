"""What refiners and labellers ask of the numbers they are given, in the same words everywhere."""

from __future__ import annotations

import math

from torch import Tensor

from getam.errors import InputError


def require_finite(**tensors: Tensor | None) -> None:
    """Refuse NaN and infinity, which would spread through every average, or count as background, without a word.

    One pass over each tensor, without a copy; integers and empty tensors are finite by themselves.

    Args:
        tensors: by the name the message gives them, such as `maps=maps`; None is passed over.

    Raises:
        InputError: the first tensor that holds such a value.

    >>> import torch
    >>> require_finite(maps=torch.rand(2, 3), images=torch.ones(2, dtype=torch.uint8))
    """
    for name, tensor in tensors.items():
        if tensor is None or not tensor.is_floating_point() or tensor.numel() == 0:
            continue
        if not all(math.isfinite(float(end)) for end in tensor.detach().aminmax()):
            verb = "hold" if name.endswith("s") else "holds"
            raise InputError(
                f"the {name} {verb} NaN or infinite values: a network whose training diverged makes such numbers "
                "(train again with a smaller learning rate), or a broken file does."
            )
