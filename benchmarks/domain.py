"""A classifier of one set of photos on another: recipe ecacl against recipe classifier, with and without its few tags.

    python benchmarks/domain.py VOC MSRC --shots 3 --seeds 0,1,2 --weights WEIGHTS.safetensors --out domain
    python benchmarks/domain.py VOC edges --shots 3 --seeds 0 --weights WEIGHTS.safetensors --out domain_edges

VOC: a VOC-layout folder, split train; MSRC: MSRC v2. Source: photos of VOC that show cat, cow, dog or sheep. Target:
photos of MSRC that show just one of them, or such photos of VOC's split val as their edges alone; by the sha256 of seed
and name the first of each class are its shots. Scored on the target's other photos, which ecacl has seen without tags:
the share whose highest score is the tag.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from first_hour import folder_of, shuffled
from PIL import Image
from scipy import ndimage

import getam
from getam.data.collection import Collection, Sample, load_collection
from getam.data.photos import as_tensor, read_photo
from getam.engine.model import load_model

CLASSES = ("cat", "cow", "dog", "sheep")
ROWS = ("classifier", "classifier, shots too", "ecacl")


@torch.no_grad()
def accuracy(run: Path, samples: Sequence[Sample], size: int) -> dict[str, Any]:
    """Share of photos, looked at whole, whose highest score is their tag; of all, and of each class."""
    net = load_model(run).eval()
    right: dict[str, list[bool]] = {name: [] for name in CLASSES}
    for sample in samples:
        photo = as_tensor(read_photo(sample.photo)).float()[None]
        seen = F.interpolate(photo, (size, size), mode="bilinear", antialias=True).clamp(0, 255)
        right[sample.tags[0]].append(net.classes[int(net.class_scores(seen).argmax())] == sample.tags[0])
    every = [each for its in right.values() for each in its]
    return {
        "accuracy": sum(every) / len(every),
        "of classes": {name: sum(its) / len(its) for name, its in right.items()},
        "photos": len(every),
    }


def edges_of(source: Path, folder: Path) -> Path:
    """Photos of the source's split val as drawings: dark where grey values change within about 2 pixels."""
    voc = load_collection(source, classes=CLASSES, split="val")
    folder_of([sample for sample in voc.samples if len(sample.tags) == 1], folder)
    for path in folder.glob("*.jpg"):
        grey = np.asarray(Image.open(path).convert("L"), np.float32)
        slope = ndimage.gaussian_gradient_magnitude(grey, 2)
        drawn = 255 * (1 - np.clip(slope / max(float(np.quantile(slope, 0.99)), 1e-6), 0, 1))
        Image.fromarray(drawn.astype(np.uint8)).save(path)
    return folder


def with_copies(shots: Sequence[Sample], times: int, folder: Path) -> Path:
    """So many copies of each shot beside the source's photos: half of a batch, as in ecacl's steps."""
    with (folder / "tags.csv").open("a") as file:
        for shot in shots:
            for copy in range(times):
                name = f"shot{copy:03}-{shot.photo.name}"
                (folder / name).symlink_to(shot.photo.resolve())
                file.write(f"{name},{shot.tags[0]}\n")
    return folder


def domains(
    source: Path, target: Path, shots: int, seed: int, out: Path
) -> tuple[list[Sample], dict[str, Path]]:
    """Folders to train on, and the photos of the target that are scored."""
    voc = load_collection(source, classes=CLASSES, split="train")
    msrc = load_collection(target, classes=CLASSES)
    single = Collection(CLASSES, tuple(sample for sample in msrc.samples if len(sample.tags) == 1))
    chosen: list[Sample] = []
    for name in CLASSES:
        chosen += [each for each in shuffled(target, single, seed) if each.tags == (name,)][:shots]
    rest = [sample for sample in single.samples if sample not in chosen]
    tagged = [sample for sample in voc.samples if sample.tags]
    bare = [Sample(sample.name, sample.photo, ()) for sample in rest]
    return rest, {
        "source": folder_of(tagged, out / "source"),
        "both": with_copies(chosen, len(tagged) // len(chosen), folder_of(tagged, out / "both")),
        "target": folder_of([*chosen, *bare], out / "target"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("target", help="MSRC v2, or edges")
    parser.add_argument("--shots", type=int, default=3)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    result = chosen.out / "domain.json"
    found: dict[str, Any] = json.loads(result.read_text()) if result.is_file() else {}
    target = (
        edges_of(chosen.source, chosen.out / "edges") if chosen.target == "edges" else Path(chosen.target)
    )
    for seed in map(int, chosen.seeds.split(",")):
        place = chosen.out / f"seed{seed}"
        shutil.rmtree(place / "both", ignore_errors=True)
        rest, folders = domains(chosen.source, target, chosen.shots, seed, place)
        for row in ROWS:
            if (name := f"{row}, seed {seed}") in found:
                continue
            run = place / row.replace(", ", "-").replace(" ", "-")
            getam.train(
                data=folders["both" if row.endswith("too") else "source"],
                recipe=row.split(",")[0],
                classes=CLASSES,
                backbone="tf_efficientnet_lite0",
                weights=Path(chosen.weights),
                size=chosen.size,
                batch_size=8,
                steps=chosen.steps,
                seed=seed,
                hold_out=0,
                options=(f"target={folders['target']}",) if row == "ecacl" else (),
                out=run,
            )
            found[name] = accuracy(run, rest, chosen.size)
            print(name, found[name], flush=True)
            result.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
