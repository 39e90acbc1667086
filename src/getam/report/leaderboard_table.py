"""The rows `getam leaderboard` measures, and the Markdown page that shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from getam.metrics.bootstrap import Interval
from getam.report.columns import Column, table

Curve = tuple[tuple[float, float], ...]
"""(share of the steps that are done, value)."""


@dataclass(frozen=True)
class SystemRow:
    """What was measured of one trained system; shares and scores in 0–1, None where it does not apply."""

    name: str
    """RECIPE[OPTION=VALUE,…][/METHOD+REFINER:LABELLER]."""
    options: dict[str, Any]
    """All options of the recipe."""
    labelled_by: str
    """What makes its pseudo labels: METHOD+REFINER:LABELLER, the name of its own stage, or "true masks"."""
    steps: dict[str, int]
    """Optimiser steps of each stage that trains, the common second stage last."""
    miou: float
    """Of the second stage's network on the test photos: one pass, no tags, no CRF."""
    interval: Interval | None
    """95 % interval of `miou`: photos are drawn again."""
    iou: dict[str, float]
    """By class, `background` first, as `miou`."""
    photos: tuple[str, ...]
    """Of every test photo, sorted by id: LABEL:TP/UNION of the labels that occur, in pixels."""
    labels_miou: float | None
    """Of the pseudo labels of the training photos; undecided pixels are missed."""
    labels_interval: Interval | None
    labels_iou: dict[str, float] | None
    undecided: float | None
    """Share of the pixels of the training photos."""
    cpu_seconds: float | None
    """Of a step of its own training, losses and backward, all threads; mean over its stages' steps."""
    megabytes: float | None
    """Of the tensors of a step alive at one time, in the largest stage, without weights."""
    parameters: int | None
    """Of the largest network that it trains."""
    tags_curve: Curve
    """Share of test photos that are ranked right by their class scores, mean over classes, while it trains."""
    miou_curve: Curve
    """mIoU on some of the test photos while the second stage trains."""
    compared_to: str | None = None
    """The row measured first, `supervised` where it is among them; None of itself."""
    ratio: float | None = None
    """`miou` over that of `compared_to`."""
    difference: float | None = None
    """`miou` minus that of `compared_to`."""
    difference_interval: Interval | None = None


COLUMNS = (
    Column("**segmentation**", "miou", best=max, interval="interval"),
    Column("/ `{reference}`", "ratio", 1, 2, compares=True),
    Column("− `{reference}`", "difference", interval="difference_interval", sign=True, compares=True),
    Column("pseudo labels", "labels_miou", best=max, interval="labels_interval"),
    Column("undecided", "undecided"),
    Column("CPU s a step", "cpu_seconds", 1, 2, min),
    Column("MB a step", "megabytes", 1, 0, min),
    Column("M parameters", "parameters", 1e-6, 1),
)


def markdown(
    protocol: Mapping[str, Any],
    rows: Sequence[SystemRow],
    misfits: Mapping[str, str],
    *,
    pictures: Sequence[str] = (),
) -> str:
    """The page: the table, classes, what could not be measured, and what every column means.

    Args:
        protocol: as `getam leaderboard` writes it.
        rows: in any order.
        misfits: name of a row → the sentence why it could not be measured.
        pictures: file names beside the page.
    """
    reference = next((row.compared_to for row in rows if row.compared_to), None)
    parts = ["# getam leaderboard\n", _summary(protocol)]
    if rows:
        parts += [table(rows, COLUMNS, {"reference": reference})]
        parts += ["## Classes\n", _classes(rows)]
        parts += ["## How each was trained\n", _trained(rows)]
    parts += [f"![{name.split('.')[0]}]({name})\n" for name in pictures]
    if misfits:
        parts += ["## Not measured\n", "".join(f"- `{name}`: {why}\n" for name, why in misfits.items())]
    return "\n".join([*parts, "## How to read this\n", _notes(protocol, reference)])


def _summary(protocol: Mapping[str, Any]) -> str:
    classes, environment = protocol["classes"], protocol["environment"]
    return (
        f"{protocol['photos']} photos to train on by their tags, {protocol['test_photos']} others to test on, "
        f"{len(classes)} classes ({', '.join(classes)}). Ids of the test `{protocol['test_ids_sha256'][:12]}`, torch "
        f"{environment['versions']['torch']}, {protocol['threads']} "
        f"{'thread' if protocol['threads'] == 1 else 'threads'} of {environment['machine']}.\n"
    )


def _classes(rows: Sequence[SystemRow]) -> str:
    names = list(rows[0].iou)
    lines = ["| |" + "|".join(names) + "|", "|---|" + "---:|" * len(names)]
    for row in sorted(rows, key=lambda row: -row.miou):
        cells = [f"{100 * row.iou[name]:.0f}" if row.iou[name] == row.iou[name] else "—" for name in names]
        lines.append(f"|`{row.name}`|" + "|".join(cells) + "|")
    return "\n".join(lines) + "\n"


def _trained(rows: Sequence[SystemRow]) -> str:
    return "".join(
        f"- `{row.name}`: {', '.join(f'{stage} {steps} steps' for stage, steps in row.steps.items())}; labels by"
        f" {row.labelled_by}\n"
        for row in rows
    )


def _notes(protocol: Mapping[str, Any], reference: str | None) -> str:
    how = protocol["intervals"]
    counted = ""
    if protocol["background"]:
        counted = f"; {', '.join(protocol['background'])} count as background"
    notes = [
        "Segmentation: every system labels the same training photos, and the same network, from the same weights, is"
        f" trained on these labels for {protocol['second_steps']} steps by recipe `supervised`. mIoU, in %, of one"
        f" pass at a long side of {protocol['test_side']} over the test photos, without tags and without a CRF: one"
        f" confusion matrix, mean over background and the classes that occur{counted}.",
        "Pseudo labels: mIoU of the labels of the training photos, made with their tags; an undecided pixel counts as"
        " missed. True masks of these photos measure labels, and teach `supervised` alone.",
        f"[low, high]: {how['level']:.0%} interval, {how['method']} ({how['resamples']} resamples, seed"
        f" {how['seed']}). It says nothing about other training runs: each system was trained once, with seed"
        f" {protocol['seed']}.",
        "CPU s and MB a step: losses and backward of the system's own training, tried at the beginning, middle and end"
        " of it; without the optimiser, weights, and what operators allocate inside themselves.",
    ]
    if reference:
        notes.append(f"/ and − `{reference}`: the row measured first, on the same draws of photos.")
    return "".join(f"- {note}\n" for note in notes)
