"""Networks that learn from the labels of another one, which is told the tags: a backbone or options beside each other.

    python benchmarks/taught.py DATA --teacher MODEL --students students.yaml --out runs/taught

DATA is the VOC-layout folder of docs/results.md, MODEL a run folder or model file that labels its split train (one pass
at the long side at which it predicts, the dense CRF, undecided where saliency maps disagree), students.yaml what each
student is: options of recipe `supervised`, and of `StudentConfig`, by a name; a list of names is the mean of these
students. They all learn from the same labels; one that goes on from `start` begins with the network that `--start`
gives. What is done is not done again.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field
from second_stage import run_on

from getam.data.collection import Collection, Sample
from getam.data.tag_dataset import TagDataset
from getam.engine.model_file import MODEL
from getam.nets.segmenter import Segmenter
from getam.recipes.stages import LabelStage, MeanStage, Stage, TrainStage
from getam.recipes.supervised import SupervisedConfig, SupervisedRecipe
from getam.recipes.told_labels import ToldOptions, label_options, told_by


class StudentConfig(SupervisedConfig):
    """What was tried and is no option of getam."""

    frozen_blocks: int = Field(default=0, ge=0)  # so many first blocks of a ViT keep their weights
    balanced: bool = False  # photos of rare classes are seen more often
    after: str = ""  # goes on from this student, "teacher" or "start"; "": from the backbone's weights

    def build(self, classes: Sequence[str]) -> Segmenter:
        net = super().build(classes)
        if self.frozen_blocks:
            body: Any = net.encoder.backbone
            body.requires_grad_(False)
            for learns in (*body.blocks[self.frozen_blocks :], body.norm):
                learns.requires_grad_(True)
        return net

    def crops(self, collection: Collection, *, masks: bool) -> TagDataset:
        seen = replace(collection, samples=repeated(collection.samples)) if self.balanced else collection
        return super().crops(seen, masks=masks)


def repeated(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Photos of rare classes several times: √(photos of the most frequent class / of the photo's rarest one), rounded.

    Repeat factors of LVIS (Gupta et al., arXiv 1908.03195), whose threshold is the most frequent class here.
    """
    photos = Counter(tag for sample in samples for tag in sample.tags)
    most = max(photos.values())
    return tuple(
        sample
        for sample in samples
        for _ in range(round(max(sqrt(most / photos[tag]) for tag in sample.tags)))
    )


def stages(students: dict[str, dict[str, Any] | list[str]]) -> list[Stage]:
    """Labels by the network `teacher`, told the tags, then each student, or mean of students."""
    config = ToldOptions()
    rule = partial(told_by, "teacher", config)
    found: list[Stage] = [LabelStage("labels", ("teacher",), rule, label_options(config))]
    for name, options in students.items():
        if isinstance(options, list):
            found.append(MeanStage(name, tuple(options)))
            continue
        student = StudentConfig(**options)
        found.append(TrainStage(name, SupervisedRecipe(), student, labels="labels", start=student.after))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--students", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    asked = {"teacher": options.teacher, "start": options.start}
    given = {name: path / MODEL if path.is_dir() else path for name, path in asked.items() if path}
    todo = stages(yaml.safe_load(options.students.read_text()))
    run_on(options.data, todo, given, options.out, {"recipe": "taught"})


if __name__ == "__main__":
    main()
