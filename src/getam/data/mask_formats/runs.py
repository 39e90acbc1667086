"""Run lengths of flags in one row after the other: how many are off, then on, then off, …"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from getam.data.mask_formats.base import Flags


def run_lengths(flags: Flags) -> list[int]:
    """Lengths of the runs of (N,) bool, the first of them off and 0 if it begins with on.

    >>> run_lengths(np.array([True, True, False]))
    [0, 2, 1]
    """
    ends = np.flatnonzero(np.diff(flags)) + 1
    lengths = np.diff(np.concatenate(([0], ends, [flags.size])))
    return [*([0] if flags.size and flags[0] else []), *lengths.tolist()]


def from_run_lengths(lengths: Sequence[int], size: int) -> Flags:
    """(size,) bool of its run lengths; what they leave over is off. Raises `ValueError` for more, or a negative one."""
    if min(lengths, default=0) < 0 or sum(lengths) > size:
        raise ValueError(f"runs of {sum(lengths)} pixels where there are {size}")
    flags = np.zeros(size, bool)
    found = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    flags[: found.size] = found
    return flags
