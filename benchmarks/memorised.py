"""Whether networks learn the errors of their labels by heart: what they say where a label is wrong, on photos they were
taught with and on photos that they never saw.

    python benchmarks/memorised.py DATA --teacher runs/second/4-mean --students runs/taught/2-vit --out memorised.json

DATA is the VOC-layout folder of docs/results.md with Saliency/ and the masks of `train`, which are read here only. The
labels are those of `taught.py`: of every twelfth photo of `train`, which taught the students, and of the photos in
voc_animals_tune.txt, labelled in the same way and shown to none. Students are told the tags too, in one pass without a
CRF at the long side they are used at. A network that has learned single labels by heart repeats their errors on the
first photos more often than on the second; one that shares its teacher's judgement repeats them on both alike.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from second_stage import AGAIN
from torch import Tensor
from voc_animals import TUNE, samples

from getam.data.collection import Collection, load_collection
from getam.data.grey_maps import saliency_of
from getam.engine.model import load_segmenter
from getam.label_numbers import IGNORE
from getam.labels.told import told_beliefs, told_label
from getam.nets.inference import photo_logits
from getam.recipes.told_labels import told_by

Counts = npt.NDArray[np.int64]
KINDS = ("repeats the label", "says the truth", "says something else")


def counted(said: Tensor, label: Tensor, truth: Tensor) -> Counts:
    """Pixels by `KINDS`, of those where a decided label is not the truth: (3,) of (H,W) each."""
    wrong = (label != truth) & (label != IGNORE) & (truth != IGNORE)
    repeated, right = (said == label)[wrong], (said == truth)[wrong]
    return np.array([repeated.sum(), right.sum(), (~repeated & ~right).sum()], dtype=np.int64)


def shares(counts: Sequence[Counts]) -> dict[str, Any]:
    """Of all wrong pixels by kind, and a 95 % interval of the first by bootstrap over photos."""
    table = np.stack(counts)
    draws = np.random.default_rng(0).integers(len(table), size=(1000, len(table)))
    sums = table[draws].sum(1)
    low, high = np.quantile(sums[:, 0] / sums.sum(1), (0.025, 0.975))
    found = dict(zip(KINDS, map(float, table.sum(0) / table.sum()), strict=True))
    return found | {"photos": len(table), "pixels": int(table.sum()), "interval": [float(low), float(high)]}


def photos(data: Path, classes: Sequence[str]) -> Iterator[tuple[str, Collection]]:
    """(name, photos) of those that taught, and of those that did not."""
    tune = set(TUNE.read_text().split())
    for name, split in (("taught", "train"), ("new", "val")):
        whole = load_collection(data, classes=classes, split=split, saliency=data / "Saliency")
        order = sorted(whole.samples, key=lambda sample: sample.name)
        mine: Iterable[Any] = order[::12] if name == "taught" else (s for s in order if s.name in tune)
        yield name, replace(whole, samples=tuple(mine))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--students", type=Path, required=True, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    teacher = load_segmenter(options.teacher)
    students = {str(path): load_segmenter(path) for path in options.students}
    found: dict[str, dict[str, list[Counts]]] = {student: {} for student in students}
    for group, chosen in photos(options.data, teacher.classes):
        for _, sample, photo, truth, present in samples(chosen):
            saliency = saliency_of(sample, truth.shape)
            label = told_by("teacher", AGAIN, {"teacher": teacher}, photo, present, saliency)
            classes = torch.tensor(present)
            for student, net in students.items():
                said = told_label(told_beliefs(photo_logits(net, photo, (net.side,)), classes), classes)
                row = counted(said, label, torch.from_numpy(truth))
                found[student].setdefault(group, []).append(row)
    table = {
        student: {group: shares(rows) for group, rows in groups.items()} for student, groups in found.items()
    }
    options.out.write_text(json.dumps(table, indent=1) + "\n")
    for student, groups in table.items():
        for group, its in groups.items():
            print(student, group, *(f"{kind} {its[kind]:.3f}" for kind in KINDS), its["interval"])


if __name__ == "__main__":
    main()
