"""How the embedded model was made of the network before it: label, train twice on the labels, average the weights;
then label once more, train on larger crops, and average before and after.

    python benchmarks/second_stage.py DATA --start HYBRID --weights WEIGHTS --out runs/second

DATA is the VOC-layout folder of docs/results.md, HYBRID the model file of the first stage, WEIGHTS
the ImageNet weights it began with. What is done is not done again. The average of networks that went on from one is a
"model soup" (Wortsman et al., arXiv 2203.05482); its file is of half precision.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from getam.data.collection import load_collection
from getam.data.fingerprint import take_fingerprint
from getam.engine.model import load_model
from getam.engine.model_file import MODEL, read_metadata, save_model
from getam.engine.runfolder import RunFolder
from getam.engine.stages import run_stages
from getam.outputs.progress import progress
from getam.recipes.self_training import STRONG
from getam.recipes.stages import LabelStage, MeanStage, Stage, TrainStage
from getam.recipes.supervised import SupervisedConfig, SupervisedRecipe
from getam.recipes.told_labels import ToldOptions, label_options, told_by

ANIMALS = ("cat", "cow", "dog", "horse", "person", "sheep")
STUDENTS: dict[str, dict[str, Any]] = {
    "A": {},
    "B": STRONG,
}
LARGER: dict[str, Any] = {
    "size": 320, "batch_size": 8, "steps": 400, "seed": 3, "lr": 2e-4, "pretrained_lr": 5e-5, **STRONG,
}  # fmt: skip
AGAIN = ToldOptions(label_scales=(320,), label_flip=False)  # labels by the mean of A and B


def stages(weights: str, steps: int) -> list[Stage]:
    """Labels by the network `start`, told the tags, the students, which go on from it, their mean;
    labels by that, a training on larger crops, which goes on from it, and the mean of both.

    `--recipe self-training --options students=2 finish_size=320` does nearly the same after a first stage: a seed for
    each student, labels by one pass, 420 steps in the end.
    """
    config = ToldOptions(label_scales=(224, 320), label_flip=True)
    found: list[Stage] = [
        LabelStage("labels", ("start",), partial(told_by, "start", config), label_options(config))
    ]
    for name, augmentation in STUDENTS.items():
        own = SupervisedConfig(weights=weights, steps=steps, **augmentation)
        found.append(TrainStage(name, SupervisedRecipe(), own, labels="labels", start="start"))
    larger = SupervisedConfig(weights=weights, **LARGER)
    return [
        *found,
        MeanStage("mean", tuple(STUDENTS)),
        LabelStage("labels-2", ("mean",), partial(told_by, "mean", AGAIN), label_options(AGAIN)),
        TrainStage("larger", SupervisedRecipe(), larger, labels="labels-2", start="mean"),
        MeanStage("last", ("larger", "mean")),  # of the size of the first
    ]


def run_on(
    data: Path,
    todo: Sequence[Stage],
    given: Mapping[str, Path],
    out: Path,
    record: Mapping[str, Any],
    *,
    masks: bool = False,
) -> None:
    """What is not done yet of stages on split train of a VOC-layout folder; `given` are model files they begin with,
    `masks` says that a stage reads the true ones.
    """
    collection = load_collection(data, classes=ANIMALS, split="train", saliency=data / "Saliency")
    with RunFolder(out) as run:
        run.open(record, take_fingerprint(collection, masks=masks, files=given))
        run_stages(todo, collection, run, record=record, progress=progress, given=given)


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
    todo = stages(options.weights, options.steps)
    record = {"recipe": "second stage", "steps": options.steps}
    run_on(options.data, todo, {"start": options.start}, options.out, record)
    net = load_model(options.out)
    save_model(options.out / "animals.safetensors", net, read_metadata(options.out / MODEL)[2], half=True)


if __name__ == "__main__":
    main()
