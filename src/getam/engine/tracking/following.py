"""A tracker beside a training: it may not begin, which is said at once, but it never ends one that goes well."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from getam.engine.tracking.base import OpenTracker, Record, numbers_of
from getam.errors import InputError

logger = logging.getLogger(__name__)


class Following:
    """The tracker of one run folder, or none.

    Args:
        run: the folder.
        track: opens the tracker; None: every call does nothing.
    """

    def __init__(self, run: Path, track: OpenTracker | None) -> None:
        self._run = run
        self._tracker = None if track is None else track(run)

    def begin(self, config: Mapping[str, Any], start: int, before: Sequence[Record]) -> None:
        """As `Tracker.begin`. Raises `InputError` where the tracker cannot write."""
        if self._tracker is None:
            return
        try:
            self._tracker.begin(config, start, before)
        except Exception as error:  # of whatever kind its package raises
            raise InputError(
                f"{self._run} cannot be tracked ({_one_line(error)}): mend that, or leave --track out"
            ) from error

    def log(self, record: Record) -> None:
        """Hand on one line of metrics.jsonl; where that fails, say so and track no more."""
        if self._tracker is None:
            return
        try:
            self._tracker.log(record["step"], numbers_of(record))
        except Exception as error:
            logger.warning(
                "%s is no longer tracked (%s); metrics.jsonl has all of it, and the same command hands it on",
                self._run,
                _one_line(error),
            )
            self._tracker = None

    def close(self) -> None:
        """Write what is not written yet."""
        if self._tracker is not None:
            self._tracker.close()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
