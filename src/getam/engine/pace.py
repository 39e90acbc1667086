"""How long a training will take: a few steps tried on a copy of the network, at the beginning, middle and end."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from getam.recipes.base import CommonConfig, Recipe, total

TRIED = (0.0, 0.5, 0.999)  # progress of the steps that are tried: a recipe may do more in later phases


def seconds_a_step(
    recipe: Recipe,
    config: CommonConfig,
    net: nn.Module,
    batch: Mapping[str, Tensor],
    setup: Callable[[nn.Module], nn.Module] = lambda net: net,
) -> float:
    """Seconds that losses and backward of one step take, a mean over phases; all stays as it is.

    Args:
        recipe, config: what is trained.
        net: in training mode, on its device.
        batch: on the same device.
        setup: what the copy is run as, such as in another precision.
    """
    devices = [batch["image"].device] if batch["image"].is_cuda else []
    with torch.random.fork_rng(devices):
        tried = setup(copy.deepcopy(net))
        losses = recipe.losses(tried, batch, TRIED[0], config)  # the first call also sets things up
        total(losses.values()).backward()
        began = time.perf_counter()
        for progress in TRIED:
            total(recipe.losses(tried, batch, progress, config).values()).backward()
        for device in devices:
            torch.cuda.synchronize(device)
        return (time.perf_counter() - began) / len(TRIED)
