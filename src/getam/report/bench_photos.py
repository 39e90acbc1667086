"""What a row of `getam bench` keeps of every photo, one line of text each: enough for every interval and difference."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from getam.metrics.confusion import Counts


def as_lines(counts: Counts) -> tuple[str, ...]:
    """(N,2,C+1) hits and unions → one line a photo, LABEL:TP/UNION of the labels that occur in it.

    >>> as_lines(np.array([[[30, 0, 4], [40, 0, 9]]]))
    ('0:30/40 2:4/9',)
    """
    return tuple(
        " ".join(f"{label}:{hits}/{union}" for label, (hits, union) in enumerate(photo.T.tolist()) if union)
        for photo in counts
    )


def from_lines(lines: Sequence[str], classes: int) -> Counts:
    """What `as_lines` was given. Raises `ValueError` or `IndexError` for anything it cannot have written."""
    counts = np.zeros((len(lines), 2, classes + 1), np.int64)
    for photo, line in zip(counts, lines):
        for part in line.split():
            label, hits, union = map(int, re.split("[:/]", part))
            photo[:, label] = hits, union
    return counts
