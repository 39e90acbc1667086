"""What a run folder says of its training, as plots: losses and checks over the steps, tags of photos held out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from getam.engine.runfolder import METRICS
from getam.report.palette import css_colour
from getam.report.plots import Bar, bar_plot, line_plot

UNPLOTTED = ("step", "lr", "photos_per_second")
Lines = dict[str, list[tuple[float, float]]]

HELD_OUT = "tags.json"


def training_plots(run: Path) -> list[str]:
    """SVG of every stage's learning curves, in the order of the stages, and of the tags that were learned.

    Args:
        run: the run's folder; of a training in stages the folder that holds theirs.
    """
    plots: list[str] = []
    for file in sorted([*run.glob(METRICS), *run.glob(f"*/{METRICS}")]):
        losses, shares = curves(logged(file))
        stage = "" if file.parent == run else f" of {file.parent.name}"
        if losses:
            plots.append(line_plot(f"Losses{stage}", losses, x_label="step"))
        if shares:
            plots.append(line_plot(f"Checks{stage}, 0 to 1", shares, x_label="step", highest=1.0))
    return plots + tags_plots(run / HELD_OUT)


def logged(file: Path) -> list[dict[str, Any]]:
    """The lines of a log; what cannot be read, as a power cut leaves it, is passed over."""
    found = []
    for line in file.read_bytes().splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            found.append(record)
    return found


def curves(records: Iterable[Mapping[str, Any]]) -> tuple[Lines, Lines]:
    """Losses, and what checks of held-out photos found: name → points (step, value).

    Checks are logged in lines without a learning rate.

    >>> curves([{"step": 20, "cls": 0.7, "lr": 0.1}, {"step": 20, "tags right": 0.6}])
    ({'cls': [(20, 0.7)]}, {'tags right': [(20, 0.6)]})
    """
    losses: Lines = {}
    checks: Lines = {}
    for record in records:
        lines = losses if "lr" in record else checks
        for name, value in record.items():
            if name not in UNPLOTTED and isinstance(value, int | float):
                lines.setdefault(name, []).append((record["step"], value))
    return losses, checks


def tags_plots(file: Path) -> list[str]:
    """Of tags.json, where there is one: bars of how well each class is told from its absence."""
    if not file.is_file():
        return []
    classes = json.loads(file.read_text())["classes"]
    bars = [
        Bar(one["name"], one["ranked"], note=f"of {one['photos']}", colour=css_colour(label))
        for label, one in enumerate(classes, start=1)
    ]
    return [bar_plot("Photos held out, ranked right by tag (0.5: by chance)", bars)]
