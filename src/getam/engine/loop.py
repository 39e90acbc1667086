"""The training loop: readable, on Lightning Fabric, resumable, ignorant of which system it trains."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from getam.engine.runfolder import STATE, RunFolder
from getam.nets.build import FROM_NOTHING
from getam.nets.network import Network
from getam.recipes.base import CommonConfig, Recipe, optimizer, total

N = TypeVar("N", bound=Network)

LOG_EVERY = 20  # steps
SAVE_EVERY_SECONDS = 120.0


class EpochDataset(Protocol):
    """A map-style data set whose augmentation follows the epoch."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> dict[str, Tensor]: ...
    def set_epoch(self, epoch: int) -> None: ...


def fit(
    recipe: Recipe[N],
    config: CommonConfig,
    data: EpochDataset,
    classes: tuple[str, ...],
    run: RunFolder,
    *,
    record: dict[str, Any],
    advance: Callable[[int, dict[str, float]], None] = lambda step, losses: None,
    workers: int = 0,
) -> N:
    """Train until `config.steps` steps are done, continuing what `run` holds.

    Args:
        recipe: the system.
        config: its options.
        data: items with `image`, `tags`, `roi` and what the recipe needs.
        classes: class names without background.
        run: an opened run folder.
        record: the configuration as written to config.yaml, kept with the weights.
        advance: called after every step with the number of steps done and the losses.
        workers: loader processes.

    Returns:
        The trained network, in eval mode, on the device it was trained on.
    """
    fabric = Fabric(accelerator="auto", devices=1)
    torch.manual_seed(config.seed)
    resumed = (run.path / STATE).is_file()
    # A resumed run has all its weights: it needs neither the backbone's file nor the hub.
    net = recipe.build(config.model_copy(update={"weights": FROM_NOTHING}) if resumed else config, classes)
    optim = optimizer(net, config)
    start = 0
    if resumed:
        saved = run.state()
        net.load_state_dict(saved["model"])
        optim.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["rng"])
        start = int(saved["step"])
    run.rewind(start)
    net = net.to(memory_format=torch.channels_last)  # convolutions run up to twice as fast, on CPUs too
    model, optim = fabric.setup(net, optim)
    model.train()

    def keep(step: int) -> None:
        state = {"optimizer": optim.state_dict(), "step": step, "rng": torch.get_rng_state()}
        run.save(net, record, state)

    saved_at, began = time.monotonic(), time.monotonic()
    for step, batch in _batches(data, config, start, workers):
        batch = fabric.to_device(batch)
        progress = step / config.steps
        for group in optim.param_groups:
            group["lr"] = group["initial_lr"] * recipe.lr_factor(progress, config)
        losses = recipe.losses(model, batch, progress, config)
        fabric.backward(total(losses.values()))
        optim.step()
        optim.zero_grad(set_to_none=True)
        numbers = {name: float(value.detach()) for name, value in losses.items()}
        if (step + 1) % LOG_EVERY == 0 or step + 1 == config.steps:
            rate = (step + 1 - start) * len(batch["image"]) / (time.monotonic() - began)
            lr = optim.param_groups[0]["lr"]
            run.log({"step": step + 1, **numbers, "lr": lr, "photos_per_second": round(rate, 2)})
        if time.monotonic() - saved_at > SAVE_EVERY_SECONDS and step + 1 < config.steps:
            keep(step + 1)
            saved_at = time.monotonic()
        advance(step + 1, numbers)
    if start < config.steps:
        keep(config.steps)
    return net.eval()


def _batches(
    data: Any, config: CommonConfig, start: int, workers: int
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """(step, batch) from `start` on: every epoch a permutation drawn from (seed, epoch), incomplete batches dropped."""
    size = min(config.batch_size, len(data))
    per_epoch = len(data) // size
    step = start
    while step < config.steps:
        epoch, skipped = divmod(step, per_epoch)
        data.set_epoch(epoch)
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
        order = torch.randperm(len(data), generator=generator).tolist()
        todo = [order[i * size : (i + 1) * size] for i in range(skipped, per_epoch)][: config.steps - step]
        dataset: Dataset[dict[str, Tensor]] = data
        # With its own generator the loader leaves the global one alone, which a resumed run continues exactly.
        for batch in DataLoader(dataset, batch_sampler=todo, num_workers=workers, generator=generator):
            yield step, batch
            step += 1
