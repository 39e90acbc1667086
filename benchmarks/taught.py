"""Networks that learn from the labels of another one, which is told the tags: a backbone or options beside each other.

    python benchmarks/taught.py DATA --teacher MODEL --students students.yaml --out runs/taught

DATA is the VOC-layout folder of docs/results.md, MODEL a run folder or model file that labels its split train (one pass
at a long side of 320, the dense CRF, undecided where saliency maps disagree), students.yaml what each student is:
options of recipe `supervised` by a name. They all learn from the same labels. What is done is not done again.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from second_stage import run_on

from getam.engine.runfolder import MODEL
from getam.recipes.stages import LabelStage, Stage, TrainStage
from getam.recipes.supervised import SupervisedConfig, SupervisedRecipe
from getam.recipes.told_labels import ToldOptions, label_options, told_by


def stages(students: dict[str, dict[str, Any]]) -> list[Stage]:
    """Labels by the network `teacher`, told the tags, then each student."""
    config = ToldOptions(label_scales=(320,), label_flip=False)
    rule = partial(told_by, "teacher", config)
    labels = LabelStage("labels", ("teacher",), rule, label_options(config))
    return [
        labels,
        *(
            TrainStage(name, SupervisedRecipe(), SupervisedConfig(**options), labels="labels")
            for name, options in students.items()
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--students", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    teacher = options.teacher / MODEL if options.teacher.is_dir() else options.teacher
    todo = stages(yaml.safe_load(options.students.read_text()))
    run_on(options.data, todo, {"teacher": teacher}, options.out, {"recipe": "taught"})


if __name__ == "__main__":
    main()
