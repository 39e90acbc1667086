"""What each of two processes does in test_processes.py: `two_processes.py SCENES OUT`, with torchrun's variables."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import getam
from getam.engine import loop
from getam.engine.loop import fit
from getam.engine.processes import average_buffers, average_gradients, barrier, mean_of
from getam.engine.ranks import rank, world
from getam.engine.runfolder import RunFolder
from getam.engine.stopping import Stopped
from getam.errors import InputError
from getam.recipes import RECIPES
from getam.recipes.boundaries import BoundariesRecipe
from getam.recipes.consensus import ConsensusRecipe
from getam.recipes.i2crc import RelationRecipe
from getam.recipes.stages import StagedRecipe

CLASSES = ("cat", "dog")
STEPS, BATCH = 2, 4
SINGLE = [name for name, recipe in RECIPES.items() if not isinstance(recipe, StagedRecipe)]
STAGES: dict[str, Any] = {  # that only recipes of several stages have
    stage.name: stage for stage in (ConsensusRecipe(), BoundariesRecipe(), RelationRecipe())
}
TRANSFORMERS = ("acr",)  # of those without a decoder of ours


def options_of(name: str) -> dict[str, Any]:
    """A tiny network that a recipe goes with, and nothing drawn."""
    if name == "mdba":
        return {"backbone": "small-hybrid", "cut_mix": 0.0}
    if name == "consensus":
        # half of 32 pixels would be one cell, which batch norm refuses of one photo
        return {"backbone": "small-hybrid", "view_scales": (1.0, 1.5)}
    if "channels" in (RECIPES | STAGES)[name].config_type.model_fields:
        return {"backbone": "small-hybrid"}
    return {"backbone": "test_vit" if name in TRANSFORMERS else "test_resnet", "weights": ""}


class Pairs:
    """Items 2n and 2n+1 are the same photo: one of a tag each, with a mask and a saliency map."""

    def __init__(self, alike: bool) -> None:
        self.alike = alike

    def __len__(self) -> int:
        return BATCH

    def set_epoch(self, epoch: int) -> None:
        pass

    def name(self, index: int) -> str:
        return f"photo {index}"

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        photo = index // 2 if self.alike else index
        generator = torch.Generator().manual_seed(photo)
        mask = torch.zeros(32, 32, dtype=torch.int64)
        mask[8:24, 8:24] = photo % 2 + 1
        image = torch.rand(3, 32, 32, generator=generator) * 255
        tags = torch.nn.functional.one_hot(torch.tensor(photo % 2), 2).float()
        return {
            "image": image,
            "tags": tags,
            **{f"{view}_image": image.flip(-1) for view in ("shot", "weak", "strong")},  # of another domain
            "shot_tags": tags,
            "roi": torch.ones(32, 32, dtype=torch.bool),
            "mask": mask,
            "saliency": (mask > 0).float(),
            "belief": (mask > 0).float() * 0.9,
            "index": torch.tensor(index),
        }


def trained(name: str, out: Path, *, alike: bool) -> dict[str, Tensor]:
    """Weights and buffers after a few steps of a recipe on `Pairs`."""
    recipe = RECIPES[name]
    options = {"size": 32, "batch_size": BATCH, "steps": STEPS, "warmup": 0.0, "optimizer": "sgd"}
    config = recipe.config_type(**options, **options_of(name))
    kept = torch.randperm
    if alike:  # photos in order, so that both shares of a batch are the same
        torch.randperm = lambda count, generator=None: torch.arange(count)
    try:
        with RunFolder(out / name) as run:
            run.open({"recipe": name})
            net = fit(recipe, config, Pairs(alike), CLASSES, run, record={"recipe": name})
    finally:
        torch.randperm = kept
    return net.state_dict()


def averages() -> dict[str, Any]:
    """Gradients and buffers of a network of which each process moved another part."""
    linear = [torch.nn.Linear(inputs, 1) for inputs in (2, 1, 1)]
    net = torch.nn.Sequential(*linear, torch.nn.BatchNorm1d(1))
    for parameter in net.parameters():
        parameter.grad = None
    net[0].weight.grad = torch.full((1, 2), 1.0 + rank())
    if rank():
        net[1].weight.grad = torch.full((1, 1), 8.0)
    net[3].running_mean.fill_(float(rank()))
    net[3].num_batches_tracked.fill_(5)
    average_gradients(net)
    average_buffers(net)
    return {
        "gradients": [None if p.grad is None else p.grad.flatten().tolist() for p in net.parameters()],
        "mean": net[3].running_mean.item(),
        "count": net[3].num_batches_tracked.item(),
        "numbers": mean_of({"b": 1.0 + rank(), "a": 4.0}),
    }


def interrupted(out: Path) -> None:
    """A run that stops after the second of four steps."""

    class StopError(Exception):
        pass

    def advance(done: int, losses: dict[str, float]) -> None:
        if done == 2:
            raise StopError

    loop.SAVE_EVERY_SECONDS = -1.0
    with suppress(StopError):
        whole_run(out, advance=advance)
    loop.SAVE_EVERY_SECONDS = 120.0


def stopped(out: Path) -> str:
    """What a run says that the second process is asked to end, in the third of four steps."""

    def advance(done: int, losses: dict[str, float]) -> None:
        if done == 3 and rank():
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        whole_run(out, advance=advance)
    except Stopped as stop:
        return f"{stop.number}: {stop}"
    return "it ran on"


def whole_run(out: Path, **options: Any) -> Any:
    """Four steps of the supervised recipe, from what there is."""
    config = RECIPES["supervised"].config_type(backbone="small-hybrid", size=32, batch_size=BATCH, steps=4)
    with RunFolder(out) as run:
        run.open({"recipe": "supervised"})
        return fit(RECIPES["supervised"], config, Pairs(False), CLASSES, run, record={}, **options)


def main() -> None:
    scenes, out = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    found: dict[str, Any] = {"world": world(), "rank": rank(), "averages": averages()}
    found["alike"] = {name: trained(name, out / "alike", alike=True) for name in SINGLE}
    found["apart"] = {name: trained(name, out / "apart", alike=False) for name in SINGLE}
    interrupted(out / "interrupted")
    found["stopped"] = stopped(out / "stopped")
    getam.train(
        data=scenes / "photos", tags=scenes / "tags.csv", out=out / "stages", recipe="self-training",
        backbone="small-hybrid", size=32, batch_size=2, steps=2, saliency="none", options=("students=2",),
    )  # fmt: skip
    try:
        getam.train(
            data=scenes / "photos", tags=scenes / "tags.csv", out=out / "odd", backbone="small-hybrid", size=32,
            batch_size=3, steps=1, saliency="none",
        )  # fmt: skip
    except InputError as error:
        found["odd"] = str(error)
    torch.save(found, out / f"{os.environ['RANK']}.pt")
    barrier()


if __name__ == "__main__":
    main()
