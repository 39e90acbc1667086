"""The training loop: readable, on Lightning Fabric, resumable, ignorant of which system it trains."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from getam.engine.average import begin_average, move_average
from getam.engine.pace import seconds_a_step
from getam.engine.processes import average_buffers, average_gradients, launched, mean_of
from getam.engine.ranks import rank, world
from getam.engine.runfolder import RunFolder
from getam.engine.state import random_state, restore_random
from getam.errors import GetamError, InputError
from getam.nets.build import FROM_NOTHING
from getam.nets.network import Network
from getam.recipes.base import CommonConfig, Recipe, optimizer, total

LOG_EVERY = 20  # steps
SAVE_EVERY_SECONDS = 120.0
CHECKS = 10  # in a training


class EpochDataset(Protocol):
    """A map-style data set whose augmentation follows the epoch."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> dict[str, Tensor]: ...
    def set_epoch(self, epoch: int) -> None: ...


def fit(
    recipe: Recipe,
    config: CommonConfig,
    data: EpochDataset,
    classes: tuple[str, ...],
    run: RunFolder,
    *,
    record: dict[str, Any],
    advance: Callable[[int, dict[str, float]], None] = lambda step, losses: None,
    workers: int = 0,
    initial: Mapping[str, Tensor] | None = None,
    pace: Callable[[float], None] | None = None,
    check: Callable[[Network], Mapping[str, float]] | None = None,
) -> Network:
    """Train until `config.steps` steps are done, continuing what `run` holds.

    Args:
        recipe: the system.
        config: its options.
        data: items with `image`, `tags`, `roi` and what the recipe needs.
        classes: class names without background.
        run: an opened run folder.
        record: the configuration as written to config.yaml, kept with the weights.
        advance: called after every step with the number of steps done, the losses, and what `check` found last.
        workers: loader processes.
        initial: weights to start from, of a network of the same recipe's shape; None: as the recipe builds it.
        pace: called before the first step with the seconds that what is left will take, found by trying a few steps.
        check: called after every tenth of the steps with the network, which it leaves as it is; its numbers are logged.

    Returns:
        The trained network, in eval mode, on the device it was trained on.

    Raises:
        InputError: a photo cannot be read, everything that was saved is damaged, or losses, gradients or weights are
            no longer finite; what was saved before is then still there, and whole.
    """
    fabric = launched()
    torch.manual_seed(config.seed)
    saved = run.state()
    # With all weights at hand, neither the backbone's file nor the hub is needed.
    whole = saved is not None or initial is not None
    net = (config.model_copy(update={"weights": FROM_NOTHING}) if whole else config).build(classes)
    if initial is not None:
        net.load_state_dict(initial)
    net = net.to(memory_format=torch.channels_last)  # convolutions run up to twice as fast, on CPUs too
    model, optim = fabric.setup(net, optimizer(net, config))
    start = _resume(net, optim, saved) if saved else 0
    average = begin_average(net.state_dict()) if config.ema else {}
    if saved and config.ema:
        move_average(average, saved.get("average", saved["model"]), 0.0, start)  # onto the device
    run.rewind(start)
    model.train()
    kept = start  # steps done in what was saved last

    def keep(done: int) -> None:
        nonlocal kept
        if not _finite(net.state_dict().values()):
            raise FloatingPointError(f"weights after step {done} are not finite")
        state = {"optimizer": optim.state_dict(), "step": done, "random": random_state()}
        run.save(net, record, {**state, "average": average} if config.ema else state)
        kept = done

    saved_at, began = time.monotonic(), time.monotonic()
    checked: dict[str, float] = {}
    try:
        for step, batch in _batches(data, config, start, workers):
            if fabric.global_rank:  # draws of its own, also when resumed
                torch.manual_seed(
                    (config.seed * config.steps + step) * fabric.world_size + fabric.global_rank
                )
            if pace is not None and step == start:
                loaded = time.monotonic() - began
                each = seconds_a_step(recipe, config, net, fabric.to_device(batch))
                pace((config.steps - start) * (each if workers else each + loaded))
                began = time.monotonic()
            numbers = _train_step(recipe, config, fabric, model, optim, batch, step)
            if config.ema:
                move_average(average, net.state_dict(), config.ema, step + 1)
            if (
                check is not None
                and not fabric.global_rank
                and (step + 1) * CHECKS // config.steps > step * CHECKS // config.steps
            ):
                checked = dict(check(net))
                run.log({"step": step + 1, **checked})
            if (step + 1) % LOG_EVERY == 0 or step + 1 == config.steps:
                rate = (
                    (step + 1 - start) * len(batch["image"]) * fabric.world_size / (time.monotonic() - began)
                )
                lr = optim.param_groups[0]["lr"]
                run.log({"step": step + 1, **numbers, "lr": lr, "photos_per_second": round(rate, 2)})
            if time.monotonic() - saved_at > SAVE_EVERY_SECONDS and step + 1 < config.steps:
                keep(step + 1)
                saved_at = time.monotonic()
            advance(step + 1, numbers | checked)
        if start < config.steps:
            if config.ema:  # from here on, this is the network
                net.load_state_dict(average)
            keep(config.steps)
    except FloatingPointError as error:
        there = f"what was saved after step {kept} is kept" if kept else "nothing had been saved yet"
        raise InputError(
            f"{run.path}: the {error}, so that nothing more can be learned; {there}: train with a smaller --lr than "
            f"{config.lr:g} and another --out"
        ) from None
    return net.eval()


def in_words(losses: Mapping[str, float]) -> str:
    """The losses of a step as shown beside its progress.

    >>> in_words({"cls": 0.25, "fg": 1})
    'cls 0.250 fg 1.000'
    """
    return " ".join(f"{name} {loss:.3f}" for name, loss in losses.items())


def _train_step(
    recipe: Recipe, config: CommonConfig, fabric: Fabric, model: Any, optim: Any, batch: Any, step: int
) -> dict[str, float]:
    """One step of the optimiser; the losses by name.

    Raises:
        FloatingPointError: a loss or a gradient is not finite; the weights are as they were.
    """
    batch = fabric.to_device(batch)
    progress = step / config.steps
    for group in optim.param_groups:
        group["lr"] = group["initial_lr"] * config.lr_factor(progress)
    losses = recipe.losses(model, batch, progress, config)
    numbers = mean_of({name: float(value.detach()) for name, value in losses.items()})
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise FloatingPointError(f"loss {name} of step {step + 1} is {number}")
    fabric.backward(total(losses.values()))
    average_gradients(model)
    average_buffers(model)
    if not _finite(p.grad for p in model.parameters() if p.grad is not None):
        found = ", ".join(f"{name} {number:.3g}" for name, number in numbers.items())
        raise FloatingPointError(f"gradients of the loss of step {step + 1} ({found}) are not finite")
    optim.step()
    optim.zero_grad(set_to_none=True)
    return numbers


def _resume(net: Network, optim: Any, saved: dict[str, Any]) -> int:
    """Put back what was saved, on the devices where weights and optimiser are by now; the number of steps done."""
    net.load_state_dict(saved["model"])
    optim.load_state_dict(saved["optimizer"])
    # before there was more than the CPU's generator, it was kept as "rng"
    restore_random(saved["random"] if "random" in saved else {"cpu": saved["rng"]})
    return int(saved["step"])


def _finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all floating-point numbers are finite; asks the device once."""
    sums = [t.detach().sum(dtype=torch.float32) for t in tensors if t.is_floating_point()]
    return not sums or bool(torch.stack(sums).isfinite().all())


def _batches(
    data: Any, config: CommonConfig, start: int, workers: int
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """(step, batch) from `start` on: every epoch a permutation drawn from (seed, epoch), incomplete batches dropped.

    Of several processes each has its share of every batch.
    """
    size, among = min(config.batch_size, len(data)), world()
    if size % among:
        raise InputError(
            f"a batch of {size} photos cannot be dealt to {among} processes: give a multiple of {among}"
        )
    per_epoch = len(data) // size
    step = start
    while step < config.steps:
        epoch, skipped = divmod(step, per_epoch)
        data.set_epoch(epoch)
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
        order = torch.randperm(len(data), generator=generator).tolist()
        batches = [order[i * size : (i + 1) * size] for i in range(skipped, per_epoch)]
        todo = [batch[rank() :: among] for batch in batches][: config.steps - step]
        loader = DataLoader(
            _ErrorsAsItems(data), batch_sampler=todo, num_workers=workers, collate_fn=_collate,
            # With its own generator the loader leaves the global one alone, which a resumed run continues exactly.
            generator=generator,
        )  # fmt: skip
        for batch in loader:
            if isinstance(batch, GetamError):
                raise batch
            yield step, batch
            step += 1


class _ErrorsAsItems(Dataset[Any]):
    """The same data, its errors handed over instead of raised: a worker's would arrive as the text of a traceback."""

    def __init__(self, data: EpochDataset) -> None:
        self.data = data

    def __getitem__(self, index: int) -> dict[str, Tensor] | GetamError:
        try:
            return self.data[index]
        except GetamError as error:
            return error


def _collate(items: list[dict[str, Tensor] | GetamError]) -> Any:
    """One batch, or the first error among its items."""
    error = next((item for item in items if isinstance(item, GetamError)), None)
    return default_collate(items) if error is None else error
