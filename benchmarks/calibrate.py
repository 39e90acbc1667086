"""What thresholds chosen on a few true masks are worth on other photos, and what tells bad masks before there is truth.

    python benchmarks/calibrate.py MSRC --runs first_hour/*-embedded-none,first_hour/*-embedded-embedded \
        --out docs/measured/calibrate.json

A run is a folder that `first_hour.py` made: run/ is the model, photos/ its tagged photos; its name ends with what makes
the saliency. Maps of a photo are made once. Then, again and again, some photos are drawn as those with true masks: what
`getam label --calibrate` finds on them is compared with the photos that were not drawn. Masks are scored as there.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from first_hour import BACKGROUND
from scipy.stats import spearmanr

import getam
from getam.data.collection import load_collection
from getam.data.grey_maps import read_photo_and_saliency
from getam.data.masks import VOID, read_label_names, read_mask, remap
from getam.labels.candidates import candidates
from getam.labels.enlarge import enlarged
from getam.metrics.confusion import Counts, confusion_matrix, hits_and_unions, mean_iou
from getam.metrics.cross_validation import cross_validated
from getam.metrics.plausibility import plausibility
from getam.opened.saliency import load_with_saliency
from getam.pipeline import Pipeline
from getam.verbs.calibrate import ENOUGH


def photo_by_photo(data: Path, run: Path) -> dict[str, Any]:
    """Counts (T,N,2,C+1) of every candidate on every photo; how doubtful and how sure the default's label is."""
    saliency = None if run.name.endswith("none") else "embedded"
    net = getam.load_model(run / "run")
    load = partial(load_collection, run / "photos", known=net.classes)
    samples = load_with_saliency(load, saliency).samples
    pipeline = Pipeline()
    rule = pipeline.labeller(saliency=saliency is not None)
    tried = candidates(rule)
    void, names = read_label_names(data)
    counts, doubt, mean, least = [], [], [], []
    for sample in samples:
        photo, salient = read_photo_and_saliency(sample)
        size = (photo.shape[-2], photo.shape[-1])
        mask = read_mask(data / "masks" / f"{sample.name}.png")
        truth = remap(mask, names, net.classes, background=BACKGROUND, void=void == VOID)
        present = [net.classes.index(tag) for tag in sample.tags]
        evidence = pipeline.evidence(net, photo, present, salient)
        of_photo = []
        for options in tried:
            small = Pipeline(label_options=options).decide(evidence)
            label = enlarged(small, size).numpy()
            of_photo.append(hits_and_unions(confusion_matrix(label, truth, len(net.classes))))
            if not options:
                doubt.append(plausibility(label, net.classes, present).worth_a_look)
                sure = pipeline.confidences(evidence, small, net.classes)
                pixels = [int((small == net.classes.index(name) + 1).sum()) for name in sure]
                mean.append(float(np.average(list(sure.values()), weights=pixels)) if sure else 0.0)
                least.append(min(sure.values(), default=0.0))
        counts.append(np.stack(of_photo))
    return {"rule": rule, "tried": tried, "photos": [sample.name for sample in samples],
            "counts": np.stack(counts, 1), "doubt": doubt, "mean": mean, "least": least}  # fmt: skip


def chosen_on(counts: Counts, masks: int, draws: int) -> dict[str, Any]:
    """Mean over draws of `masks` photos: what the cross-validation said, and what the other photos say."""
    said, kept = [], []
    for seed in range(draws):
        order = np.random.default_rng(seed).permutation(counts.shape[1])
        inside, outside = order[:masks], order[masks:]
        found = cross_validated(counts[:, inside])
        others = mean_iou(counts[:, outside].sum(1))
        use = found.chosen if found.better and masks >= ENOUGH else 0
        said.append((found.default_miou, found.seen_miou, found.miou))
        kept.append((others[0], others[found.chosen], others[use], others.max(), use != 0))
    names = ("default", "chosen", "cross-validated")
    others_names = ("default", "chosen", "what is used", "best there")
    gains = np.array([row[1] - row[0] for row in kept])
    errors = np.array([row[2] for row in said]) - np.array([row[1] for row in kept])
    return {
        "masks": masks, "draws": draws,
        "on the masks": dict(zip(names, np.mean(said, 0).tolist(), strict=True)),
        "on the others": dict(zip(others_names, np.mean([row[:4] for row in kept], 0).tolist(), strict=True)),
        "called better": float(np.mean([row[4] for row in kept])),
        "worse there though called better": float(np.mean([row[4] and row[2] < row[0] for row in kept])),
        "gain of chosen": {"mean": float(gains.mean()), "sd": float(gains.std()), "least": float(gains.min())},
        "cross-validated - chosen on the others": {"mean": float(errors.mean()), "sd": float(errors.std())},
    }  # fmt: skip


def measure(found: dict[str, Any], draws: int) -> dict[str, Any]:
    """All numbers of a run."""
    counts = found["counts"]
    everywhere, each = mean_iou(counts.sum(1)), mean_iou(counts[0])
    orders = {
        "today": -np.array(found["doubt"]), "mean confidence": found["mean"], "least confidence": found["least"],
    }  # fmt: skip
    return {
        "rule": found["rule"], "photos": len(found["photos"]), "tried": found["tried"],
        "miou_of_each": everywhere.tolist(),
        "draws": [chosen_on(counts, masks, draws) for masks in (5, 10, 20, 30)],
        "spearman_with_miou_of_photo": {
            name: {"rho": float(its.statistic), "p": float(its.pvalue)}
            for name, its in ((name, spearmanr(values, each)) for name, values in orders.items())
        },
        "photo": [
            {"name": name, "miou": float(miou), "doubt": doubt, "mean": mean, "least": least}
            for name, miou, doubt, mean, least in zip(
                found["photos"], each, found["doubt"], found["mean"], found["least"], strict=True
            )
        ],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", required=True, help="folders, commas between")
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    result: dict[str, Any] = {"data": "MSRC v2", "machine": "2 cores of an Intel Xeon, no GPU", "runs": {}}
    for run in map(Path, options.runs.split(",")):
        found = photo_by_photo(options.data, run)
        result["runs"][run.name] = measure(found, options.draws)
        print(run.name, json.dumps({**result["runs"][run.name], "photo": None}, indent=1), flush=True)
        options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
