"""What each of two processes does in test_processes.py: `two_processes.py SCENES OUT`, with torchrun's variables."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from own_share import plain
from torch import Tensor

import getam
from getam.engine import loop
from getam.engine.loop import fit
from getam.engine.processes import average_buffers, average_gradients, barrier, mean_of
from getam.engine.ranks import rank, world
from getam.engine.runfolder import RunFolder
from getam.engine.stopping import Stopped
from getam.errors import InputError
from getam.recipes import RECIPES, mdba
from getam.recipes.boundaries import BoundariesRecipe
from getam.recipes.consensus import ConsensusRecipe
from getam.recipes.i2crc import RelationRecipe
from getam.recipes.stages import StagedRecipe

CLASSES = ("cat", "dog")
STEPS, BATCH = 2, 4
STAGES = (ConsensusRecipe(), BoundariesRecipe(), RelationRecipe())  # of the recipes in several
SINGLE = [name for name, recipe in RECIPES.items() if not isinstance(recipe, StagedRecipe)]
TRAINED: dict[str, Any] = {name: RECIPES[name] for name in SINGLE} | {its.name: its for its in STAGES}
TRANSFORMERS = ("acr",)  # of those without a decoder of ours
NOTHING_DRAWN: dict[str, dict[str, Any]] = {
    "mdba": {"cut_mix": 0.0},
    "consensus": {"view_scales": (1.0,), "view_turns": ()},
}
DRAWN: dict[str, dict[str, Any]] = {
    # by this seed the first process has the photo that cannot be mixed in both steps
    "mdba": {"cut_mix": 1.0, "seed": 1},
    "supervised": {"class_mix": 0.5},
}
APART: dict[str, dict[str, Any]] = {  # so that all terms are there in both steps, and weigh
    "afa": {"joint_from": 0.0, "walked_from": 0.5, "seg_weight": 1.0, "aff_weight": 1.0},
    "i2crc-classifier": {f"{term}_weight": 10.0 for term in ("foreground", "background", "between")},
    # a process believes its own photos, and makes prototypes of its own shots
    "mdba": {"noise_from": 1.0, "noise_until": 1.0},
    "ecacl": {"proto_weight": 0.0, "threshold": 0.0},
}
OF_ONE_TAG = ("bas", "i2crc-classifier")  # draws one of several; learns relations where there is one
RATES = {"lr": 0.02, "pretrained_lr": 0.02}  # so that two steps show what a loss is divided by


def network_of(name: str) -> dict[str, Any]:
    """A tiny network that a recipe goes with."""
    if "channels" in TRAINED[name].config_type.model_fields:
        return {"backbone": "small-hybrid"}
    return {"backbone": "test_vit" if name in TRANSFORMERS else "test_resnet", "weights": ""}


def options_of(name: str) -> dict[str, Any]:
    """A tiny network that a recipe goes with, and nothing drawn."""
    return network_of(name) | NOTHING_DRAWN.get(name, {})


class Pairs:
    """Photos with a mask and a saliency map, of a tag each; items 2n and 2n+1 are `alike`.

    Or all are unlike: the objects of the third are larger than those of others, some of it is padding, and it has both
    tags, if photos have `several`; the fourth has neither a tag nor an object.
    """

    def __init__(self, alike: bool, several: bool = False) -> None:
        self.alike, self.several = alike, several

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
        roi = torch.ones(32, 32, dtype=torch.bool)
        image = torch.rand(3, 32, 32, generator=generator) * 255
        tags = torch.nn.functional.one_hot(torch.tensor(photo % 2), 2).float()
        if photo == 2:
            mask[2:30, 4:28], mask[4:8, 24:28], roi[20:] = 1, 2 if self.several else 1, False
            tags[1] = float(self.several)
        elif photo == 3:
            mask[:], tags[:] = 0, 0
        mask[~roi] = 255
        return {
            "image": image,
            "tags": tags,
            **{f"{view}_image": image.flip(-1) for view in ("shot", "weak", "strong")},  # of another domain
            "shot_tags": tags,
            "roi": roi,
            "mask": mask,
            "saliency": (mask % 255 > 0).float(),
            "belief": (mask % 255 > 0).float() * 0.9,
            "index": torch.tensor(index),
        }


def trained(name: str, out: Path, how: str) -> dict[str, Tensor]:
    """Weights and buffers after a few steps of a recipe on `Pairs`.

    `how`: "alike", both shares of a batch are the same, and nothing is drawn; "drawn", they are not, and all is drawn
    that a recipe can draw, from several tags too; "apart", they are not, nothing is drawn, and networks are `plain`.
    """
    recipe, config_type = TRAINED[name], TRAINED[name].config_type
    options = {"size": 32, "batch_size": BATCH, "steps": STEPS, "warmup": 0.0, "optimizer": "sgd"}
    options |= network_of(name) | DRAWN.get(name, {}) if how == "drawn" else options_of(name)
    if how == "apart":
        config_type, options = plain(config_type), options | RATES | APART.get(name, {})
    data = Pairs(how == "alike", several=how == "drawn" or name not in OF_ONE_TAG)
    kept = torch.randperm
    if how == "alike":  # photos in order
        torch.randperm = lambda count, generator=None: torch.arange(count)
    try:
        with RunFolder(out / name) as run:
            run.open({"recipe": name})
            net = fit(recipe, config_type(**options), data, CLASSES, run, record={"recipe": name})
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
    mixed, cut_mix = [], mdba.cut_mix
    mdba.cut_mix = lambda *given: (mixed.append(1), cut_mix(*given))[1]
    for how in ("alike", "drawn", "apart"):
        found[how] = {name: trained(name, out / how, how) for name in TRAINED}
    found["mixed"] = len(mixed)
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
