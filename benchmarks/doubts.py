"""What labels of a network that is told the tags should leave undecided: mIoU of what is left, and how much that is.

    python benchmarks/doubts.py DATA --model runs/second/4-mean --second runs/taught/2-vit --out doubts.json

DATA is the VOC-layout folder of docs/results.md with Saliency/; labels of the photos in voc_animals_tune.txt, on which
choices are made. Models are run folders or model files; `--second` is the network that may disagree.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from voc_animals import TUNE, samples

from getam.data.collection import load_collection
from getam.data.grey_maps import saliency_of
from getam.engine.model import load_segmenter
from getam.label_numbers import IGNORE
from getam.labels.told import told_beliefs, told_label
from getam.metrics.confusion import ConfusionMatrix
from getam.nets.inference import photo_logits
from getam.refine.crf import dense_crf
from getam.refine.crf_parameters import DEEPLAB

SCALES = (224, 320)
BELIEFS = (0.6, 0.8, 0.9, 0.95)


def labels_of(
    net: Any, other: Any, photo: Tensor, present: list[int], saliency: Tensor
) -> Iterator[tuple[str, Tensor]]:
    """(name, label (H,W) uint8) for everything that is tried."""
    classes = torch.tensor(present)

    def plain(logits: Tensor) -> Tensor:
        return told_label(told_beliefs(logits, classes), classes)

    def refined(*views: Tensor) -> Tensor:
        """Beliefs (1+K,H,W): the mean of the views' after a CRF."""
        mean = torch.stack([told_beliefs(view, classes) for view in views]).mean(0)
        return dense_crf(photo[None].float(), mean[None], parameters=DEEPLAB, iterations=5)[0]

    def where(agreed: Tensor, label: Tensor) -> Tensor:
        return torch.where(agreed, label, IGNORE)

    views = {
        (side, mirrored): photo_logits(net, photo.flip(-1), (side,)).flip(-1)
        if mirrored
        else photo_logits(net, photo, (side,))
        for side in SCALES
        for mirrored in (False, True)
    }
    seen = {view: plain(logits) for view, logits in views.items()}
    one = views[SCALES[-1], False]
    second = photo_logits(other, photo, SCALES[-1:])
    both = (one + views[SCALES[-1], True]) / 2
    beliefs, together, mirrored_too = refined(one), refined(one, second), refined(both)
    several = refined(torch.stack(list(views.values())).mean(0))
    label, its = told_label(beliefs, classes), told_label(refined(second), classes)
    salient = told_label(beliefs, classes, saliency)
    mirror = seen[SCALES[-1], False] == seen[SCALES[-1], True]
    scales = seen[SCALES[-1], False] == seen[SCALES[0], False]
    four = torch.stack([found == seen[SCALES[-1], False] for found in seen.values()]).all(0)
    yield "one pass at 320", label
    yield "320, mirrored", told_label(mirrored_too, classes)
    yield "224 and 320, mirrored", told_label(several, classes)
    yield "the second network", its
    yield "mean of both networks", told_label(together, classes)
    for least in BELIEFS:
        yield f"undecided below a belief of {least}", told_label(beliefs, classes, least=least)
    yield "undecided where its mirror image differs", where(mirror, label)
    yield "undecided where it differs at 224", where(scales, label)
    yield "undecided where any of four views differs", where(four, label)
    yield "undecided where the second network differs", where(label == its, label)
    yield "undecided where saliency differs", salient
    yield "320, mirrored, undecided where saliency differs", told_label(mirrored_too, classes, saliency)
    yield "224 and 320, mirrored, undecided where saliency differs", told_label(several, classes, saliency)
    yield "undecided where saliency or any of four views differs", where(four, salient)
    yield "undecided where saliency or the second network differs", where(label == its, salient)


def scored(label: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8], row: dict[str, Any]) -> None:
    """Count one label: all pixels, an undecided one being missed, and the decided ones alone."""
    row["all"].update(label, truth)
    row["decided"].update(label, np.where(label == IGNORE, np.uint8(IGNORE), truth))
    row["undecided"].append(float((label == IGNORE).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--second", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    net, other = load_segmenter(options.model), load_segmenter(options.second)
    collection = load_collection(
        options.data, classes=net.classes, split="val", saliency=options.data / "Saliency"
    )
    tune = set(TUNE.read_text().split())
    chosen = replace(collection, samples=tuple(s for s in collection.samples if s.name in tune))
    rows: dict[str, dict[str, Any]] = {}
    for _, sample, photo, truth, present in samples(chosen):
        for name, label in labels_of(net, other, photo, present, saliency_of(sample, truth.shape)):
            if name not in rows:
                rows[name] = {"undecided": []} | {
                    what: ConfusionMatrix(len(net.classes)) for what in ("all", "decided")
                }
            scored(label.numpy(), truth, rows[name])
    found = [
        {
            "labels": name,
            **{what: float(row[what].compute().miou) for what in ("all", "decided")},
            "undecided": float(np.mean(row["undecided"])),
            "decided_iou": [float(iou) for iou in row["decided"].compute().iou],
        }
        for name, row in rows.items()
    ]
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    for row in found:
        print(row["labels"], *(f"{what} {row[what]:.3f}" for what in ("all", "decided", "undecided")))


if __name__ == "__main__":
    main()
