"""A running average of a network's weights: steadier than the last step's, and mistaken elsewhere than each of them.

Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992; as an exponential average it is the
mean teacher's network (Tarvainen and Valpola, arXiv 1703.01780).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def begin_average(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy of a state dict, to be moved by `move_average`."""
    return {name: tensor.detach().clone() for name, tensor in state.items()}


@torch.no_grad()
def move_average(average: Mapping[str, Tensor], state: Mapping[str, Tensor], decay: float, step: int) -> None:
    """Move the average towards a state, in place: average ← d·average + (1 − d)·state.

    d is `decay`, at first less: min(decay, (1 + step) / (10 + step)), so that a short training forgets its start.

    Args:
        average: of `begin_average`.
        state: of the same network, after `step` steps.
        decay: in [0,1).
        step: ≥ 1.
    """
    kept = min(decay, (1 + step) / (10 + step))
    for name, tensor in state.items():
        if tensor.is_floating_point():
            average[name].lerp_(tensor.detach(), 1 - kept)
        else:  # counts of batches
            average[name].copy_(tensor)
