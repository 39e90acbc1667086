"""How the embedded model was made of the network before it: label, train twice on the labels, average the weights.

    python benchmarks/second_stage.py DATA --start HYBRID --weights WEIGHTS --out runs/second

DATA is the VOC-layout folder of docs/results.md, HYBRID the first stage (`getam train`, benchmarks/README.md), WEIGHTS
the ImageNet weights it began with. What is done is not done again. The average of networks that went on from one is a
"model soup" (Wortsman et al., arXiv 2203.05482); its file is of half precision.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from getam.data.collection import Collection, load_collection
from getam.data.fingerprint import take_fingerprint
from getam.data.masks import write_classes, write_mask
from getam.data.transforms import read_photo_and_saliency
from getam.engine.loop import fit, in_words
from getam.engine.model import load_model
from getam.engine.runfolder import RunFolder
from getam.recipes.self_training import SelfTrainingConfig, told_by
from getam.recipes.supervised import SupervisedConfig, SupervisedRecipe
from getam.verbs.progress import progress

STUDENTS: dict[str, dict[str, Any]] = {
    "A": {},
    "B": {"zoom": (0.6, 1.6), "colour_jitter": True, "class_mix": 0.5},
}


def write_labels(collection: Collection, start: Path, folder: Path) -> Collection:
    """The collection with labels by the network for masks, as recipe self-training makes them."""
    label = partial(told_by, "start", SelfTrainingConfig(), {"start": load_model(start)})
    folder.mkdir(parents=True, exist_ok=True)
    write_classes(folder, collection.classes)
    samples = tuple(replace(s, mask=folder / f"{s.name}.png") for s in collection.samples)
    todo = [sample for sample in samples if sample.mask and not sample.mask.is_file()]
    with progress("labels", len(todo)) as advance:
        for done, sample in enumerate(todo, 1):
            photo, saliency = read_photo_and_saliency(sample)
            present = [collection.classes.index(tag) for tag in sample.tags]
            assert sample.mask is not None
            write_mask(sample.mask, label(photo, present, saliency).numpy())
            advance(done, sample.name)
    return replace(collection, samples=samples, mask_classes=collection.classes)


def train(collection: Collection, start: Path, config: SupervisedConfig, folder: Path) -> None:
    """One student, going on from the network."""
    record = {"recipe": "supervised", **config.model_dump(mode="json")}
    with RunFolder(folder) as run, progress(folder.name, config.steps) as advance:
        run.open(record, take_fingerprint(collection, masks=True))
        fit(
            SupervisedRecipe(), config, config.crops(collection, masks=True), collection.classes, run, record=record,
            initial=load_model(start).state_dict(),
            advance=lambda done, losses: advance(done, in_words(losses)),
        )  # fmt: skip


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
    labelled = write_labels(collection, options.start, options.out / "labels")
    for name, augmentation in STUDENTS.items():
        config = SupervisedConfig(weights=options.weights, steps=options.steps, **augmentation)
        train(labelled, options.start, config, options.out / name)
    mean_of(
        [options.out / name / "model.safetensors" for name in STUDENTS], options.out / "animals.safetensors"
    )


if __name__ == "__main__":
    main()
