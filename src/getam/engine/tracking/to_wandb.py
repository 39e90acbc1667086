"""Weights & Biases: offline in RUN/tracking/wandb, for `wandb sync`; WANDB_MODE=online sends at once."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from getam.engine.tracking.base import FOLDER, Record, numbers_of, run_name
from getam.whole_files import write_atomically

PROJECT, MODE = "getam", "WANDB_MODE"
NOTED = "wandb-run.json"


class WandbTracker:
    """Numbers by step, and the configuration.

    A run that is taken up again is a further offline folder with the same id, which `wandb sync` joins to the first.
    W&B takes steps in rising order only and forgets none: those that it has been told are not told again.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._noted = run / FOLDER / NOTED
        self._wandb: Any = None
        self._id = ""
        self._told = self._told_before = -1  # now, and by an earlier process

    def begin(self, config: Mapping[str, Any], start: int, before: Sequence[Record]) -> None:
        import wandb

        if self._noted.is_file():
            noted = json.loads(self._noted.read_text())
            self._id, self._told = noted["id"], noted["step"]
        else:
            self._id = secrets.token_hex(4)
        (self._run / FOLDER).mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(mode=os.environ.get(MODE, "offline"), silent=True, console="off")
        self._wandb = wandb.init(
            project=PROJECT, name=run_name(self._run), id=self._id, resume="allow", dir=str(self._run / FOLDER),
            config=dict(config), settings=settings,
        )  # fmt: skip
        self._told_before = self._told
        for record in before:
            self.log(record["step"], numbers_of(record))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        if step <= self._told_before:
            return
        self._wandb.log(dict(numbers), step=step)
        if step > self._told:
            self._told = step
            write_atomically(self._noted, json.dumps({"id": self._id, "step": step}).encode())

    def close(self) -> None:
        if self._wandb is not None:
            self._wandb.finish()
            self._wandb = None


def open_tracker(run: Path) -> WandbTracker:
    """The tracker of a run folder."""
    return WandbTracker(run)
