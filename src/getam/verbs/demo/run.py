"""`getam demo`: the whole of it on scenes of handwritten digits, then the embedded model on a real photo."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from getam.engine.environment import environment
from getam.engine.loop import fit, in_words
from getam.engine.model import load_segmenter
from getam.engine.runfolder import RunFolder
from getam.errors import InputError
from getam.nets.segmenter import Segmenter
from getam.outputs.progress import progress
from getam.recipes.getam import GetamConfig, GetamRecipe
from getam.report.gallery import write_report
from getam.verbs.demo.digits import DIGIT_CLASSES, DigitScenes
from getam.verbs.demo.report import cat, cat_row, results_table, rich_table, scene_rows
from getam.verbs.demo.score import DemoScores, score
from getam.verbs.from_python import from_python
from getam.whole_files import write_atomically

HELD_OUT, TUNING, SHOWN = 512, 128, 8  # scenes: scored, for choosing thresholds, in the report
INDEX, RECORD, RUN = "index.html", "demo.json", "run"  # what a report folder holds

# Chosen by trial for at most 5 minutes on 2 cores. All four blocks count: maps of training scenes after PAMR have
# 0.59 mIoU, from the second half of the blocks 0.45. Twice PAMR's usual 10 iterations: 0.68 instead of 0.62. The
# decoder is fresh when the joint phase begins, hence its higher rate. An undecided band around thin strokes is never
# corrected and gets painted over: one threshold for both sides. The dense energy sums over pairs of pixels, so scenes
# of 64 pixels need a larger weight than photos. attn_grad: 0.57 against 0.50 of attn_grad2.
CONFIG = GetamConfig(
    backbone="small-hybrid", weights="", size=64, batch_size=16, steps=2600, channels=(32, 48, 64, 96), width=32,
    lr=1e-3, pretrained_lr=1e-3, weight_decay=0.05, joint_from=0.82, joint_lr_factor=3.0, start=0, pamr_scale=1.0,
    pamr_iterations=20, coupling="attn_grad", foreground=0.4, background=0.4, crf_iterations=0, opening=3,
    dense_weight=2e-6,
)  # fmt: skip


@from_python
def demo(*, out: Path = Path("report"), seed: int = 0, overwrite: bool = False) -> Path:
    """Train on scenes of handwritten digits from tags alone, score everything, write report/index.html.

    Scenes are made on the fly: one or two real handwritten digits on real photo textures. The network is told which
    digits occur, never where; masks are used for scoring only. Then the embedded model explains and segments a real
    photo. Takes at most 5 minutes on 2 cores.

    Args:
        out: folder for the report: index.html, demo.json (numbers and protocol) and run/ (the trained model).
        seed: of the scenes, the first weights and everything else random.
        overwrite: replace an earlier report.

    Returns:
        Path of index.html.

    Raises:
        InputError: scikit-learn or scikit-image is not installed, or something else is in the way at `out`.
    """
    config = GetamConfig(**{**CONFIG.model_dump(), "seed": _checked(seed)})
    return run_demo(config, out, load_segmenter(), overwrite=overwrite)


def run_demo(
    config: GetamConfig,
    out: Path,
    embedded: Segmenter,
    *,
    overwrite: bool,
    held_out: int = HELD_OUT,
    tuning: int = TUNING,
) -> Path:
    """`demo` with any configuration and any model for the photo."""
    began = time.monotonic()
    cat()  # a missing package is reported before minutes of training, not after
    with replacing(out, overwrite=overwrite) as folder:
        net = train_on_scenes(config, folder / RUN)
        trained = time.monotonic()
        with progress("scoring", tuning + held_out) as advance:
            scores = score(net, config, seed=config.seed, held_out=held_out, tuning=tuning, advance=advance)
        rows = scene_rows(net, config, seed=config.seed, count=min(SHOWN, held_out))
        rows.append(cat_row(embedded, first_label=len(DIGIT_CLASSES) + 1))
        table = results_table(scores)
        seconds = {"training": trained - began, "all": time.monotonic() - began}
        notes = _notes(scores, config, held_out, tuning, seconds)
        write_report(
            folder,
            title="From tags to masks: handwritten digits on photo textures",
            rows=rows,
            class_names=(*(f"digit {name}" for name in DIGIT_CLASSES), *embedded.classes),
            table=table,
            notes=notes,
        )
        record = _record(scores, config, held_out, tuning, seconds)
        write_atomically(folder / RECORD, (json.dumps(record, indent=1) + "\n").encode())
    Console().print(rich_table(table, caption=_in_short(scores, seconds)))
    return out / INDEX


def train_on_scenes(config: GetamConfig, run: Path) -> Segmenter:
    """The complete recipe on endless training scenes, from tags alone."""
    data = DigitScenes("train", config.size, config.seed)
    record = {"recipe": GetamRecipe.name, **config.model_dump(mode="json"), "data": {"scenes": "digits"}}
    folder = RunFolder(run)
    folder.open(record)
    with progress("training", config.steps) as advance:
        net = fit(
            GetamRecipe(), config, data, DIGIT_CLASSES, folder, record=record,
            advance=lambda done, losses: advance(done, in_words(losses)),
        )  # fmt: skip
    assert isinstance(net, Segmenter)
    return net


@contextmanager
def replacing(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A new folder beside `out` that takes its place when the block ends well, and is removed when it does not.

    Raises:
        InputError: `out` is a file, holds a report and `overwrite` is off, or holds anything that is no report.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: name a folder for the report with --out")
    there = {entry.name for entry in out.iterdir()} if out.is_dir() else set()
    foreign = sorted(there - {INDEX, RECORD, RUN})
    if foreign:
        raise InputError(
            f"{out} holds {foreign[0]}, which is no part of a report: give a new folder with --out"
        )
    if there and not overwrite:
        raise InputError(f"{out} holds a report: choose another --out, or replace it with --overwrite")
    out = out.resolve()
    fresh, old = (out.with_name(f".{out.name}.{os.getpid()}.{kind}") for kind in ("partial", "old"))
    fresh.mkdir(parents=True)
    try:
        yield fresh
        if out.exists():
            out.rename(old)
        fresh.rename(out)
    finally:
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _checked(seed: int) -> int:
    if seed < 0:
        raise InputError(f"--seed {seed} is negative: choose 0 or a positive number")
    return seed


def _in_short(scores: DemoScores, seconds: dict[str, float]) -> str:
    return (
        f"{scores.tag_accuracy:.1%} of the network's decisions on tags are right, and all ten in "
        f"{scores.exact_tags:.1%} of the scenes. Training took {seconds['training']:.0f} s, "
        f"everything {seconds['all']:.0f} s."
    )


def _notes(
    scores: DemoScores, config: GetamConfig, held_out: int, tuning: int, seconds: dict[str, float]
) -> list[str]:
    """The paragraphs above the table."""
    return [
        f"A small network was trained from nothing in {config.steps:,} steps of {config.batch_size} scenes, made on "
        "the fly from real handwritten digits and real photo textures, none shown twice. It was told which digits "
        "occur in a scene, never where.",
        f"Scored on {held_out} scenes with digits of other writers on other parts of the photos: mean IoU over "
        "background and ten digits, from one confusion matrix over all pixels. Maps and pseudo labels are told the "
        f"tags, the segmentation is not, with or without the dense CRF of predict; the pictures show it with. "
        f"Thresholds were chosen on {tuning} training scenes.",
        _in_short(scores, seconds),
    ]


def _record(
    scores: DemoScores, config: GetamConfig, held_out: int, tuning: int, seconds: dict[str, float]
) -> dict[str, Any]:
    """demo.json: the numbers and how they were measured."""
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "scores": asdict(scores),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "protocol": {
            "seed": config.seed,
            "steps": config.steps,
            "held_out_scenes": held_out,
            "held_out": "digits of other writers, other parts of the texture photos; the first scenes of the split",
            "metric": "one confusion matrix over all pixels; mean IoU over background and ten digits",
            "thresholds": f"best mIoU on {tuning} training scenes that no step has shown; pseudo labels of the recipe: "
            "its configured ones, of the other methods: their best for refined maps, nothing undecided",
            "undecided": "pixels of 255 in a pseudo label count as missed",
            "tags_at_test_time": {"maps": True, "pseudo labels": True, "segmentation": False},
        },
        "config": config.model_dump(mode="json"),
        "environment": environment(),
    }
