"""The first hour of someone with a few dozen photos: train with defaults, label them, segment photos never seen.

    python benchmarks/first_hour.py MSRC --classes cow,sheep,car --photos 20,60,180 --seeds 0,1,2 \
        --saliency none,embedded --weights WEIGHTS.safetensors,embedded --out first_hour

MSRC is MSRC v2: images/, masks/, classes.txt, tags.csv. Photos that show any of the classes are ordered by the sha256
of seed and name; the first, at most two thirds, are trained on, the others tested. Training uses only tags; pixels of
other things and of nothing count nowhere, grass, sky and the like are background. A row is not done twice.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Any

import getam
from getam.data.masks import VOID, read_label_names, read_mask, remap
from getam.metrics.confusion import ConfusionMatrix

BACKGROUND = ("grass", "sky", "road", "tree", "building", "water", "mountain")


def deal(
    data: Path, classes: list[str], photos: int, seed: int
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Photos with any of the classes, and which: (trained on, tested)."""
    with (data / "tags.csv").open(newline="") as file:
        tags = {
            row["image"]: [tag for tag in row["tags"].split(";") if tag in classes]
            for row in csv.DictReader(file)
        }
    showing = sorted(
        (name for name, its in tags.items() if its),
        key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest(),
    )
    count = min(photos, 2 * len(showing) // 3)
    return {name: tags[name] for name in showing[:count]}, {name: tags[name] for name in showing[count:]}


def folder_of(data: Path, chosen: dict[str, list[str]], folder: Path) -> Path:
    """A folder as a user has it: photos and tags.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "tags.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "tags"])
        for name, its in chosen.items():
            shutil.copy(data / name, folder / Path(name).name)
            writer.writerow([Path(name).name, ";".join(its)])
    return folder


def score(masks: Path, data: Path, chosen: dict[str, list[str]], classes: list[str]) -> dict[str, Any]:
    """mIoU with background of the masks against the truth; a 255 in a mask counts as missed."""
    void, names = read_label_names(data)
    matrix = ConfusionMatrix(len(classes))
    for name in chosen:
        mask = read_mask(data / "masks" / f"{Path(name).stem}.png")
        truth = remap(mask, names, classes, background=BACKGROUND, void=void == VOID)
        matrix.update(read_mask(masks / f"{Path(name).stem}.png"), truth)
    found = matrix.compute()
    return {
        "miou": found.miou,
        "iou": dict(zip(("background", *classes), map(float, found.iou), strict=True)),
    }


def measure(options: argparse.Namespace, row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One hour: seconds of each command, and what it gives."""
    classes = sorted(row["classes"].split(","))
    known, unseen = deal(options.data, classes, row["photos"], row["seed"])
    photos, others = (
        folder_of(options.data, known, folder / "photos"),
        folder_of(options.data, unseen, folder / "new"),
    )
    saliency = None if row["saliency"] == "none" else row["saliency"]
    began = time.monotonic()
    steps = {} if options.steps is None else {"steps": options.steps}
    getam.train(
        data=photos, out=folder / "run", weights=row["weights"], saliency=saliency, seed=row["seed"], **steps
    )
    trained = time.monotonic()
    labels = getam.label(data=photos, model=folder / "run", out=folder / "labels", saliency=saliency)
    labelled = time.monotonic()
    masks = getam.predict(others, model=folder / "run", out=folder / "masks")
    ended = time.monotonic()
    return {
        **row, "trained on": len(known), "tested on": len(unseen),
        "labels": score(labels, options.data, known, classes),
        "segmentation": score(masks, options.data, unseen, classes),
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
    parser.add_argument("--saliency", default="none")
    parser.add_argument("--weights", default="embedded")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    for photos in options.photos.split(","):
        for seed in options.seeds.split(","):
            for weights in options.weights.split(","):
                for saliency in options.saliency.split(","):
                    row = {
                        "classes": options.classes, "photos": int(photos), "seed": int(seed), "weights": weights,
                        "saliency": saliency,
                    }  # fmt: skip
                    name = "-".join(
                        (*options.classes.split(","), photos, f"seed{seed}", Path(weights).stem, saliency)
                    )
                    folder = options.out / name
                    if not (folder / "row.json").is_file():
                        found = measure(options, row, folder)
                        (folder / "row.json").write_text(
                            json.dumps({**found, "weights": Path(weights).stem}, indent=1)
                        )
                    found = json.loads((folder / "row.json").read_text())
                    print(
                        name,
                        *(f"{what} {found[what]['miou']:.3f}" for what in ("labels", "segmentation")),
                        flush=True,
                    )


if __name__ == "__main__":
    main()
