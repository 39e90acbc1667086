"""How the embedded model was made of the network before it: label, train twice on the labels, average the weights.

    python benchmarks/second_stage.py DATA --start HYBRID --weights WEIGHTS --out runs/second

DATA is the VOC-layout folder of docs/results.md, HYBRID the model file of the first stage, WEIGHTS
the ImageNet weights it began with. What is done is not done again. The average of networks that went on from one is a
"model soup" (Wortsman et al., arXiv 2203.05482); its file is of half precision.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from getam.data.collection import load_collection
from getam.data.fingerprint import take_fingerprint
from getam.engine.model import load_model
from getam.engine.runfolder import MODEL, RunFolder
from getam.engine.stages import run_stages
from getam.recipes.self_training import SelfTrainingConfig, label_options, told_by
from getam.recipes.stages import LabelStage, Stage, TrainStage
from getam.recipes.supervised import SupervisedConfig, SupervisedRecipe
from getam.verbs.progress import progress

STUDENTS: dict[str, dict[str, Any]] = {
    "A": {},
    "B": {"zoom": (0.6, 1.6), "colour_jitter": True, "class_mix": 0.5},
}


def stages(weights: str, steps: int) -> list[Stage]:
    """Labels by the network `start`, as recipe self-training makes them, and the students, which go on from it."""
    config = SelfTrainingConfig()
    found: list[Stage] = [
        LabelStage("labels", ("start",), partial(told_by, "start", config), label_options(config))
    ]
    for name, augmentation in STUDENTS.items():
        own = SupervisedConfig(weights=weights, steps=steps, **augmentation)
        found.append(TrainStage(name, SupervisedRecipe(), own, labels="labels", start="start"))
    return found


def mean_of(files: list[Path], out: Path) -> None:
    """Write the mean of the weights, in half precision, with the first file's metadata."""
    states = [load_file(file) for file in files]
    mean = {}
    for name, value in states[0].items():
        if value.is_floating_point():
            value = torch.stack([state[name].float() for state in states]).mean(0).half()
        mean[name] = value
    with safe_open(files[0], framework="pt") as first:
        save_file(mean, out, metadata=first.metadata())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--start", type=Path, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--steps", type=int, default=840)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    collection = load_collection(
        options.data,
        classes=load_model(options.start).classes,
        split="train",
        saliency=options.data / "Saliency",
    )
    todo = stages(options.weights, options.steps)
    record = {"recipe": "second stage", "steps": options.steps}
    with RunFolder(options.out) as run:
        run.open(record, take_fingerprint(collection, masks=False, files={"start": options.start}))
        run_stages(todo, collection, run, record=record, progress=progress, given={"start": options.start})
    files = [options.out / f"{number}-{stage.name}" / MODEL for number, stage in enumerate(todo, 1)]
    mean_of(files[1:], options.out / "animals.safetensors")


if __name__ == "__main__":
    main()
