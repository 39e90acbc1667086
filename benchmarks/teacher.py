"""GETAM's joint phase with a teacher: what a step learns from is read from a running average of the network.

    python benchmarks/teacher.py DATA --start runs/hybrid --weights WEIGHTS --out runs/teacher

DATA is the VOC-layout folder of docs/results.md, `--start` a network of the first stage, WEIGHTS the ImageNet ones it
began with. Three networks go on from it, with joint steps alone: `own` learns from its own maps, as GETAM does, `maps`
from those of its average, `masks` from the masks of its average, told the tags, undecided where saliency maps disagree.
What is done is not done again; one that was interrupted goes on with an average that begins where it stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from second_stage import run_on
from torch import Tensor, nn

from getam.attention.capture import capture
from getam.engine.average import move_average
from getam.engine.model_file import MODEL
from getam.label_numbers import IGNORE
from getam.labels.told import told_beliefs, told_label
from getam.recipes.base import unwrap
from getam.recipes.getam import GetamConfig, GetamRecipe, pseudo_labels
from getam.recipes.stages import Stage, TrainStage

DECAY = 0.99  # of the average: a hundred steps


class Taught(GetamRecipe):
    """GETAM whose labels come from a mean teacher (Tarvainen and Valpola, arXiv 1703.01780), in eval mode.

    Args:
        source: "maps" or "masks" of the teacher.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.teacher: Any = None
        self.step = 0

    def labels(
        self, net: nn.Module, tap: Any, scores: Tensor, batch: Mapping[str, Tensor], config: GetamConfig
    ) -> Tensor:
        """(B,H,W) as of `pseudo_labels`, of the teacher, which is moved towards the network first."""
        own = unwrap(net)
        if self.teacher is None:
            self.teacher = deepcopy(own).eval()
        self.step += 1
        move_average(self.teacher.state_dict(), own.state_dict(), DECAY, self.step)
        if self.source == "masks":
            return told_masks(self.teacher, batch)
        with capture(self.teacher) as its:
            found, _ = self.teacher(batch["image"], masks=False)
        return pseudo_labels(self.teacher, its, found, batch, config)


@torch.no_grad()
def told_masks(teacher: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """Masks of a segmenter, told the tags of each crop's photo; undecided where saliency disagrees or no photo is."""
    _, logits = teacher(batch["image"])
    labels = []
    for number, tags in enumerate(batch["tags"]):
        classes = tags.nonzero().flatten()
        salient = batch["saliency"][number] if "saliency" in batch else None
        labels.append(told_label(told_beliefs(logits[number], classes), classes, salient))
    return torch.stack(labels).masked_fill(~batch["roi"], IGNORE)


def stages(weights: str, steps: int, size: int, seed: int) -> list[Stage]:
    """The three, from one network."""
    config = GetamConfig(weights=weights, steps=steps, size=size, batch_size=8, seed=seed, joint_from=0.0)
    recipes = {"own": GetamRecipe(), "maps": Taught("maps"), "masks": Taught("masks")}
    return [TrainStage(name, recipe, config, start="start") for name, recipe in recipes.items()]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    how = {"steps": options.steps, "size": options.size, "seed": options.seed}
    start = options.start / MODEL if options.start.is_dir() else options.start
    run_on(
        options.data,
        stages(options.weights, **how),
        {"start": start},
        options.out,
        {"recipe": "teacher", **how},
    )


if __name__ == "__main__":
    main()
