"""What a step of a training costs: CPU seconds, memory, parameters, tried on a few photos before it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from getam.data.collection import Collection
from getam.engine.pace import TRIED
from getam.metrics.cost import peak_tensor_bytes, timed
from getam.nets.build import FROM_NOTHING
from getam.recipes.base import CommonConfig, Recipe, total


@dataclass(frozen=True)
class StepCost:
    """Of one step: losses and backward, without the optimiser.

    Attributes:
        seconds: by the wall clock, a mean over the beginning, middle and end of a training.
        cpu_seconds: of all threads, which other programs do not lengthen.
        bytes: of the tensors alive at one time, the most of the three; without weights.
        parameters: of the network.
    """

    seconds: float
    cpu_seconds: float
    bytes: int
    parameters: int


def step_cost(recipe: Recipe, config: CommonConfig, collection: Collection) -> StepCost:
    """Try a recipe's step on the first photos, from random weights, on the CPU.

    Args:
        recipe, config: what is trained; if it learns from masks, they are all background here.
        collection: photos and tags, and the saliency maps that the recipe needs.

    Raises:
        InputError: as building the network, or reading the photos.
    """
    with torch.random.fork_rng(devices=[]):
        net = config.model_copy(update={"weights": FROM_NOTHING}).build(collection.classes).train()
        net = net.to(memory_format=torch.channels_last)  # as it is trained
        data = config.crops(collection, masks=False)
        batch = default_collate([data[i] for i in range(min(config.batch_size, len(data)))])
        batch["mask"] = torch.zeros(batch["image"].shape[0], *batch["image"].shape[2:], dtype=torch.int64)
        _step(recipe, config, net, batch, TRIED[0])  # the first call also sets things up
        spent = [timed(partial(_step, recipe, config, net, batch, progress))[1] for progress in TRIED]
        peaks = [
            peak_tensor_bytes(partial(_step, recipe, config, net, batch, progress)) for progress in TRIED
        ]
    return StepCost(
        seconds=sum(one.wall for one in spent) / len(spent),
        cpu_seconds=sum(one.cpu for one in spent) / len(spent),
        bytes=max(peaks),
        parameters=sum(parameter.numel() for parameter in net.parameters()),
    )


def _step(
    recipe: Recipe, config: CommonConfig, net: nn.Module, batch: Mapping[str, Tensor], progress: float
) -> None:
    total(recipe.losses(net, batch, progress, config).values()).backward()
    for parameter in net.parameters():
        parameter.grad = None
