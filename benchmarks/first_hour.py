"""The first hour of someone with a few dozen photos: train with defaults, label them, segment photos never seen.

Labels are made by `label`, and again by `predict --tags` (told).

    python benchmarks/first_hour.py MSRC --classes cow,sheep,car --photos 20,60,180 --seeds 0,1,2 \
        --saliency none,embedded --weights WEIGHTS.safetensors,embedded --out first_hour
    python benchmarks/first_hour.py VOC --classes cat,cow,dog,horse,person,sheep --split train --test-split val \
        --photos 60,300 --saliency auto --out first_hour

MSRC is MSRC v2: images/, masks/, classes.txt, tags.csv. Photos that show any of the classes are ordered by the sha256
of seed and name; the first, at most two thirds, are trained on, the others tested. With splits, of a VOC folder, the
first of one are trained on and all of the other tested. Training uses only tags; pixels of other things and of nothing
count nowhere; of MSRC grass, sky and the like are background. A row is not done twice.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import getam
from getam.data.collection import Collection, Sample, load_collection, load_sample_mask
from getam.data.masks import read_mask
from getam.metrics.confusion import ConfusionMatrix

BACKGROUND = ("grass", "sky", "road", "tree", "building", "water", "mountain")  # of MSRC


def collect(data: Path, classes: Sequence[str], split: str | None) -> Collection:
    """The photos of a split, or all, with tags and masks."""
    if (data / "JPEGImages").is_dir():
        return load_collection(data, classes=classes, split=split)
    return load_collection(data, classes=classes, split=split, masks=data / "masks", background=BACKGROUND)


def shuffled(data: Path, collection: Collection, seed: int) -> list[Sample]:
    """Those with any of the classes, by the sha256 of seed and name."""
    return sorted(
        (sample for sample in collection.samples if sample.tags),
        key=lambda sample: hashlib.sha256(
            f"{seed} {sample.photo.relative_to(data).as_posix()}".encode()
        ).digest(),
    )


def folder_of(chosen: Sequence[Sample], folder: Path) -> Path:
    """A folder as a user has it: photos and tags.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "tags.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "tags"])
        for sample in chosen:
            shutil.copy(sample.photo, folder / sample.photo.name)
            writer.writerow([sample.photo.name, ";".join(sample.tags)])
    return folder


def score(masks: Path, collection: Collection, chosen: Sequence[Sample]) -> dict[str, Any]:
    """mIoU with background of the masks against the truth; a 255 in a mask counts as missed."""
    matrix = ConfusionMatrix(len(collection.classes))
    for sample in chosen:
        label = read_mask(masks / f"{sample.photo.stem}.png")
        matrix.update(label, load_sample_mask(sample, collection, label.shape))
    found = matrix.compute()
    return {
        "miou": found.miou,
        "iou": dict(zip(("background", *collection.classes), map(float, found.iou), strict=True)),
    }


def measure(options: argparse.Namespace, row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One hour: seconds of each command, and what it gives."""
    classes = sorted(row["classes"].split(","))
    data = options.data
    tagged = collect(data, classes, options.split)
    showing = shuffled(data, tagged, row["seed"])
    others = tagged if options.test_split is None else collect(data, classes, options.test_split)
    count = min(row["photos"], 2 * len(showing) // 3)
    known = showing[:count]
    unseen = showing[count:] if options.test_split is None else shuffled(data, others, row["seed"])
    photos, new = folder_of(known, folder / "photos"), folder_of(unseen, folder / "new")
    saliency = row["saliency"]
    began = time.monotonic()
    steps = {} if options.steps is None else {"steps": options.steps}
    getam.train(
        data=photos, out=folder / "run", recipe=row["recipe"], weights=row["weights"], saliency=saliency,
        seed=row["seed"], options=tuple(options.options), **steps,
    )  # fmt: skip
    trained = time.monotonic()
    labels = getam.label(data=photos, model=folder / "run", out=folder / "labels", saliency=saliency)
    labelled = time.monotonic()
    masks = getam.predict(new, model=folder / "run", out=folder / "masks")
    ended = time.monotonic()
    told = getam.predict(photos, tags=photos / "tags.csv", model=folder / "run", out=folder / "told")
    return {
        **row, "trained on": len(known), "tested on": len(unseen),
        "labels": score(labels, tagged, known),
        "told": score(told, tagged, known),
        "segmentation": score(masks, others, unseen),
        "seconds": {"train": trained - began, "label": labelled - trained, "predict": ended - labelled},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--classes", required=True)
    parser.add_argument("--photos", default="60")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--split")
    parser.add_argument("--test-split")
    parser.add_argument("--saliency", default="none")
    parser.add_argument("--weights", default="embedded")
    parser.add_argument("--recipe", default="getam")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--options", nargs="*", default=(), help="as of getam train")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    for photos in options.photos.split(","):
        for seed in options.seeds.split(","):
            for weights in options.weights.split(","):
                for saliency in options.saliency.split(","):
                    row = {
                        "classes": options.classes, "photos": int(photos), "seed": int(seed), "weights": weights,
                        "saliency": saliency, "recipe": options.recipe,
                    }  # fmt: skip
                    its = (photos, f"seed{seed}", Path(weights).stem, saliency, options.recipe)
                    told = (*([] if options.steps is None else [f"steps={options.steps}"]), *options.options)
                    name = "-".join((*options.classes.split(","), *its, *told))
                    folder = options.out / name
                    if not (folder / "row.json").is_file():
                        found = measure(options, row, folder)
                        (folder / "row.json").write_text(
                            json.dumps({**found, "weights": Path(weights).stem}, indent=1)
                        )
                    found = json.loads((folder / "row.json").read_text())
                    print(
                        name,
                        *(f"{what} {found[what]['miou']:.3f}" for what in ("labels", "told", "segmentation")),
                        flush=True,
                    )


if __name__ == "__main__":
    main()
