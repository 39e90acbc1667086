"""What a tracker is, and which there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from getam.errors import InputError

FOLDER = "tracking"
"""In a run folder: where trackers write when nobody says otherwise."""

Record = Mapping[str, Any]
"""A line of metrics.jsonl: "step" and numbers by name."""

TRACKERS = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}
"""Name → the package it writes through."""


class Tracker(Protocol):
    """Follows one training; its functions are called by one process, in the order in which they stand here."""

    def begin(self, config: Mapping[str, Any], start: int, before: Sequence[Record]) -> None:
        """Take up a run.

        Args:
            config: what config.yaml says.
            start: steps done; what an earlier process has told of later ones will be told again.
            before: what was logged up to there, in case the tracker was not there to hear it.
        """

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Numbers after so many steps."""

    def close(self) -> None:
        """Write what is not written yet. May be called without `begin`, and twice."""


OpenTracker = Callable[[Path], Tracker]
"""Run folder → its tracker, which writes nothing before `begin`."""


def find_tracker(name: str) -> OpenTracker:
    """The tracker of that name, in `TRACKERS`.

    Raises:
        InputError: there is none, or its package is not installed.
    """
    if name not in TRACKERS:
        raise InputError(f"--track {name}: choose one of {', '.join(TRACKERS)}")
    if find_spec(TRACKERS[name]) is None:
        raise InputError(f"--track {name} needs the package {TRACKERS[name]}: pip install 'getam[tracking]'")
    tracker: OpenTracker = import_module(f"getam.engine.tracking.to_{name}").open_tracker
    return tracker


def run_name(run: Path) -> str:
    """What a run is called: its folder, and for a stage its run's before that.

    >>> run_name(Path("/data/runs/a")), run_name(Path("/data/runs/a/1-classifier"))
    ('a', 'a/1-classifier')
    """
    folder = run.resolve()
    return (
        f"{folder.parent.name}/{folder.name}"
        if folder.name[:1].isdigit() and "-" in folder.name
        else folder.name
    )


def numbers_of(record: Record) -> dict[str, float]:
    """The numbers of a line of metrics.jsonl, without its step.

    >>> numbers_of({"step": 20, "cls": 0.5, "lr": 1})
    {'cls': 0.5, 'lr': 1.0}
    """
    return {name: float(value) for name, value in record.items() if name != "step"}
