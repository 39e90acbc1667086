"""TensorBoard: event files in RUN/tracking/tensorboard; `tensorboard --logdir runs` shows all runs below a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from getam.engine.tracking.base import FOLDER, Record, numbers_of


class TensorBoardTracker:
    """Scalars by step, and the configuration as text.

    Taken up again, it tells TensorBoard to forget what comes after `start`, which is TensorBoard's own way.
    """

    def __init__(self, run: Path) -> None:
        self._folder = run / FOLDER / "tensorboard"
        self._writer: Any = None

    def begin(self, config: Mapping[str, Any], start: int, before: Sequence[Record]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        known = any(self._folder.glob("events.*"))
        self._writer = SummaryWriter(str(self._folder), purge_step=start + 1 if known else None)
        if not known:
            self._writer.add_text("config", f"```yaml\n{yaml.safe_dump(dict(config), sort_keys=False)}```", 0)
            for record in before:
                self.log(record["step"], numbers_of(record))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()  # a killed run has told all that it has logged

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def open_tracker(run: Path) -> TensorBoardTracker:
    """The tracker of a run folder."""
    return TensorBoardTracker(run)
