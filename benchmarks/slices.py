"""Grey slices with one organ, tags only: windows of a CT scan with a lung tumour, recipe `um-cam` beside Grad-CAM.

    pip download --no-deps --no-binary :all: pyradiomics==3.0.1 && tar xzf pyradiomics-3.0.1.tar.gz
    pip install pynrrd
    python benchmarks/slices.py pyradiomics-3.0.1/data --weights BACKBONE.safetensors --out OUT

The scan `lung2` and the outline of its tumour come with that package's source archive. Even slices are trained on, odd
ones between them are tested on: another part of the same tumour, so these figures compare ways to read it and say
nothing of other patients. The side at which the segmenter sees a window is chosen on the training windows.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image

import getam
from getam.data.masks import write_classes, write_mask
from getam.data.photos import as_tensor, read_photo
from getam.engine.model import load_model
from getam.recipes.um_cam import UMCAMConfig, expanded
from getam.refine.geodesic import Variances

SIDE = 160  # pixels of a window, of 0.63 mm
AIR, BONE = -1000, 400  # Hounsfield units that become 0 and 255
SEEN = 50  # pixels of the tumour that make a window one of it


def windows(scan: Path, truth: Path, out: Path) -> None:
    """Cut the windows into out/{train,test}, their outlines into out/{train,test}-truth, their tags beside."""
    import nrrd

    values, _ = nrrd.read(str(scan))
    tumour = nrrd.read(str(truth))[0] > 0
    grey = (np.clip((values.astype(float) - AIR) / (BONE - AIR), 0, 1) * 255).astype(np.uint8)
    place = np.random.default_rng(0)
    middle = np.argwhere(tumour).mean(0)[:2]
    tags: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    for part in tags:
        (out / part).mkdir(parents=True, exist_ok=True)
        (out / f"{part}-truth").mkdir(exist_ok=True)
        write_classes(out / f"{part}-truth", ("tumour",))
    for level in range(values.shape[2]):
        part, inside = "test" if level % 2 else "train", tumour[..., level]
        shows = bool(inside.any())
        for i in range((8 if shows else 2) // (2 if level % 2 else 1)):
            around = np.argwhere(inside).mean(0) if shows else middle
            if not shows and (level // 2 + i) % 2:
                around = np.array([values.shape[0] - around[0], around[1]])  # in the other lung
            corner = around + place.integers(-50, 51, 2) - SIDE // 2
            x, y = (int(c) for c in np.clip(corner, 0, np.array(values.shape[:2]) - SIDE))
            cut = np.s_[x : x + SIDE, y : y + SIDE, level]
            name, outline = f"slice{level:02d}-{i}", tumour[cut].T
            Image.fromarray(grey[cut].T).save(out / part / f"{name}.png")
            write_mask(out / f"{part}-truth" / f"{name}.png", outline.astype(np.uint8))
            tags[part].append((f"{name}.png", "tumour" if outline.sum() > SEEN else ""))
    for part, rows in tags.items():
        with (out / f"{part}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("image", "tags"), *rows])
        print(f"{part}: {len(rows)} windows, {sum(bool(tag) for _, tag in rows)} with the tumour")


def label_windows(model: Path, photos: Path, variances: Variances, out: Path) -> None:
    """The label rule of recipe `um-cam` on windows that show the tumour, nothing on the others."""
    net = load_model(model)
    config = UMCAMConfig(variances=variances)
    tags = dict(csv.reader((photos.parent / f"{photos.name}.csv").open(encoding="utf-8")))
    write_classes(out, ("tumour",))
    for photo in sorted(photos.glob("*.png")):
        present = [0] if tags[photo.name] else []
        label, _ = expanded(config, {"classifier": net}, as_tensor(read_photo(photo)), present, None)
        write_mask(out / photo.name, label.numpy().astype(np.uint8))


def score(masks: Path, truth: Path) -> dict[str, float]:
    """Dice and HD95 (pixels), means over the windows whose masks are there."""
    ids = masks.parent / f"{masks.name}.txt"
    ids.write_text("".join(f"{p.stem}\n" for p in sorted(masks.glob("slice*.png"))), encoding="utf-8")
    file = masks.parent / f"{masks.name}.json"
    getam.evaluate(masks, truth, split=ids, out=file, overwrite=True)
    found = json.loads(file.read_text(encoding="utf-8"))
    return {name: found[f"mean_{name}"] for name in ("dice", "hd95")}


def segmented(run: Path, out: Path, part: str, side: int) -> dict[str, float]:
    """Scores of the segmenter on windows seen at that side, without their tags."""
    masks = getam.predict(out / part, model=run, scales=(side,), crf=False, out=out / f"{part}-masks-{side}")
    return score(masks, out / f"{part}-truth")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scans", type=Path, help="folder with lung2_image.nrrd and lung2_label.nrrd")
    parser.add_argument(
        "--weights", type=Path, required=True, help="ImageNet weights of tf_efficientnet_lite0"
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    out: Path = given.out
    if not (out / "test.csv").is_file():
        windows(given.scans / "lung2_image.nrrd", given.scans / "lung2_label.nrrd", out)
    run = out / "run"
    getam.train(
        data=out / "train", tags=out / "train.csv", recipe="um-cam", backbone="tf_efficientnet_lite0",
        weights=given.weights, size=SIDE, batch_size=8, steps=given.steps, seed=0, out=run,
    )  # fmt: skip
    results = {"labels of training": score(run / "2-labels", out / "train-truth")}
    sides = {side: segmented(run, out, "train", side)["dice"] for side in (SIDE, 224, 320)}
    best = max(sides, key=lambda side: sides[side])
    results["segmenter, Dice of the training windows at a side of"] = {str(k): v for k, v in sides.items()}
    results[f"segmenter, of the test windows at {best}"] = segmented(run, out, "test", best)
    for variances in get_args(Variances):
        masks = out / f"um-cam-{variances}"
        label_windows(run / "1-classifier", out / "test", variances, masks)
        results[f"um-cam, variances {variances}, told the tags"] = score(masks, out / "test-truth")
    half = "threshold[high=0.5,low=0.5]"
    chains = (
        ("gradcam", ()), ("gradcam", ("geodesic",)), ("layercam", ()), ("um-cam", ()),
    )  # fmt: skip
    for method, refine in chains:
        name = "+".join((method, *refine))
        masks = getam.label(
            data=out / "test", tags=out / "test.csv", model=run / "1-classifier", method=method,
            refine=refine or ("none",), labels=half, out=out / name,
        )  # fmt: skip
        results[f"{name}, told the tags"] = score(masks, out / "test-truth")
    (out / "slices.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
