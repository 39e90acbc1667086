"""The training loop: readable, on Lightning Fabric, resumable, ignorant of which system it trains."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from getam.engine.average import begin_average, move_average
from getam.engine.batches import EpochDataset, batches
from getam.engine.hardware import SINGLE, Hardware
from getam.engine.not_finite import all_finite, first_bad_gradient, first_bad_output
from getam.engine.pace import seconds_a_step
from getam.engine.processes import (
    ANY,
    any_of,
    average_buffers,
    average_gradients,
    launched,
    mean_count,
    mean_of,
)
from getam.engine.ranks import world
from getam.engine.runfolder import RunFolder
from getam.engine.state import random_state, restore_random
from getam.engine.stopping import Stopped, stop_request
from getam.errors import InputError
from getam.losses.counts import counted_by
from getam.nets.build import FROM_NOTHING
from getam.nets.network import Network
from getam.recipes.base import CommonConfig, Recipe, optimizer, total, unwrap

LOG_EVERY = 20  # steps
SAVE_EVERY_SECONDS = 120.0
CHECKS = 10  # in a training
LEAST_SCALE = 1.0  # of gradients in float16: where they are infinite even so, it is not for float16
SHOWN = 16  # photos of a step that a message names


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
    hardware: Hardware = ANY,
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
        hardware: what it runs on; `config` says nothing of it.

    Returns:
        The trained network, in eval mode, on the device it was trained on.

    Raises:
        InputError: a photo cannot be read, everything that was saved is damaged, or losses, gradients or weights are
            no longer finite; what was saved before is then still there, and whole.
        Stopped: Ctrl-C or SIGTERM came; the step was finished and saved. A second one stops at once.
    """
    fabric = launched(hardware)
    torch.manual_seed(config.seed)
    saved = run.state()
    # With all weights at hand, neither the backbone's file nor the hub is needed.
    whole = saved is not None or initial is not None
    net = (config.model_copy(update={"weights": FROM_NOTHING}) if whole else config).build(classes)
    if initial is not None:
        net.load_state_dict(initial)
    net = net.to(memory_format=torch.channels_last)  # convolutions run up to twice as fast, on CPUs too
    model, optim = fabric.setup(net, optimizer(net, config))
    scaler = _scaler(fabric)
    start = _resume(net, optim, scaler, saved) if saved else 0
    average = begin_average(net.state_dict()) if config.ema else {}
    if saved and config.ema:
        move_average(average, saved.get("average", saved["model"]), 0.0, start)  # onto the device
    run.rewind(start)
    model.train()
    kept = start  # steps done in what was saved last

    def keep(done: int) -> None:
        nonlocal kept
        if not all_finite(net.state_dict().values()):
            raise FloatingPointError(f"weights after step {done} are not finite")
        state = {"optimizer": optim.state_dict(), "step": done, "random": random_state()}
        state |= {"scaler": scaler.state_dict()} if scaler is not None else {}
        run.save(net, record, {**state, "average": average} if config.ema else state)
        kept = done

    saved_at, began = time.monotonic(), time.monotonic()
    checked: dict[str, float] = {}
    with stop_request() as stop, _explained(run, config, hardware, lambda: kept):
        for step, photos, batch in batches(data, config, start, workers):
            if fabric.global_rank:  # draws of its own, also when resumed
                torch.manual_seed(
                    (config.seed * config.steps + step) * fabric.world_size + fabric.global_rank
                )
            if pace is not None and step == start:
                loaded = time.monotonic() - began
                each = seconds_a_step(recipe, config, net, fabric.to_device(batch), fabric.setup_module)
                pace((config.steps - start) * (each if workers else each + loaded))
                began = time.monotonic()
            numbers = _train_step(recipe, config, fabric, model, optim, batch, step, photos)
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
            if any_of(stop.number is not None) and step + 1 < config.steps:
                keep(step + 1)
                raise _stopped(run, step + 1, config, stop.number)
        if start < config.steps:
            if config.ema:  # from here on, this is the network
                net.load_state_dict(average)
            keep(config.steps)
        if any_of(stop.number is not None):
            raise _stopped(run, config.steps, config, stop.number)
    return net.eval()


@contextmanager
def _explained(
    run: RunFolder, config: CommonConfig, hardware: Hardware, kept: Callable[[], int]
) -> Iterator[None]:
    """Numbers that are no longer finite end the training with one sentence."""
    try:
        yield
    except FloatingPointError as error:
        there = f"what was saved after step {kept()} is kept" if kept() else "nothing had been saved yet"
        wider = "" if hardware.precision == SINGLE else f" or --precision {SINGLE},"
        raise InputError(
            f"{run.path}: the {error}, so that nothing more can be learned; {there}: train with a smaller --lr than "
            f"{config.lr:g}{wider} and another --out"
        ) from None


def _stopped(run: RunFolder, done: int, config: CommonConfig, number: int | None) -> Stopped:
    return Stopped(
        f"{run.path} was stopped after step {done} of {config.steps} and saved: the same command goes on from there",
        number or signal.SIGTERM,  # where another of several processes was told
    )


def in_words(losses: Mapping[str, float]) -> str:
    """The losses of a step as shown beside its progress.

    >>> in_words({"cls": 0.25, "fg": 1})
    'cls 0.250 fg 1.000'
    """
    return " ".join(f"{name} {loss:.3f}" for name, loss in losses.items())


def _train_step(
    recipe: Recipe,
    config: CommonConfig,
    fabric: Fabric,
    model: Any,
    optim: Any,
    batch: Any,
    step: int,
    photos: Sequence[str],
) -> dict[str, float]:
    """One step of the optimiser; the losses by name.

    Raises:
        FloatingPointError: a loss or a gradient is not finite; the weights are as they were.
    """
    batch = fabric.to_device(batch)
    progress = step / config.steps
    for group in optim.param_groups:
        group["lr"] = group["initial_lr"] * config.lr_factor(progress)
    with counted_by(mean_count, world()):
        losses = recipe.losses(model, batch, progress, config)
    numbers = mean_of({name: float(value.detach()) for name, value in losses.items()})
    for name, number in numbers.items():
        if not math.isfinite(number):
            bad = first_bad_output(unwrap(model), lambda: recipe.losses(model, batch, progress, config))
            first = f"; {bad} was the first part of the network to give it" if bad else ""
            raise FloatingPointError(f"loss {name} of step {step + 1} is {number}{first} ({_shown(photos)})")
    scaler, loss = _scaler(fabric), total(losses.values())
    fabric.backward(loss if scaler is None else scaler.scale(loss))
    average_gradients(model)
    average_buffers(model)
    # a scaler leaves out a step whose gradients float16 could not hold, and scales by less from then on
    if (scaler is None or scaler.get_scale() <= LEAST_SCALE) and not all_finite(
        p.grad for p in model.parameters() if p.grad is not None
    ):
        found = ", ".join(f"{name} {number:.3g}" for name, number in numbers.items())
        raise FloatingPointError(
            f"gradients of the loss of step {step + 1} ({found}) are not finite, first that of "
            f"{first_bad_gradient(unwrap(model))} ({_shown(photos)})"
        )
    optim.step()
    optim.zero_grad(set_to_none=True)
    return numbers


def _scaler(fabric: Fabric) -> Any:
    """What scales losses so that float16 can hold their gradients; None where nothing has to."""
    return getattr(fabric.strategy.precision, "scaler", None)


def _resume(net: Network, optim: Any, scaler: Any, saved: dict[str, Any]) -> int:
    """Put back what was saved, on the devices where weights and optimiser are by now; the number of steps done."""
    net.load_state_dict(saved["model"])
    optim.load_state_dict(saved["optimizer"])
    if scaler is not None and "scaler" in saved:
        scaler.load_state_dict(saved["scaler"])
    # before there was more than the CPU's generator, it was kept as "rng"
    restore_random(saved["random"] if "random" in saved else {"cpu": saved["rng"]})
    return int(saved["step"])


def _shown(photos: Sequence[str]) -> str:
    """The photos of a batch in words."""
    more = f" and {len(photos) - SHOWN} more" if len(photos) > SHOWN else ""
    return f"photos of this step: {', '.join(photos[:SHOWN])}{more}"
