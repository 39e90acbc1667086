"""The thresholds `getam label --calibrate` tries, by label rule; what has no entry has nothing to choose."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from getam.errors import InputError
from getam.labels.registry import find_labeller

Options = dict[str, float]

LEVELS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def _equal(first: str, second: str) -> list[Options]:
    """Both levels the same, so that nothing is undecided: an undecided pixel is scored as a miss."""
    return [{first: level, second: level} for level in LEVELS]


def _ordered(high: str, low: str, levels: Sequence[float]) -> list[Options]:
    return [{high: upper, low: lower} for upper, lower in product(levels, levels) if lower <= upper]


# A handful of photos cannot tell finer steps apart; the default itself is always tried first, by `candidates`.
CANDIDATES: dict[str, list[Options]] = {
    "free": _equal("foreground", "background"),
    "completion": [
        {"quantile": quantile, "salient": salient}
        for quantile, salient in product((0.8, 0.9, 0.95, 0.99), (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8))
    ],
    "threshold": _ordered("high", "low", LEVELS),
    "irn": _equal("high", "low"),
    "afa": _equal("high", "low"),
    "single-tag": _ordered("high", "low", LEVELS),
}


def candidates(name: str) -> list[Options]:
    """What is tried for the rule of that name: nothing set, which is its default, then sets of its options.

    Raises:
        InputError: no rule of that name, or one without thresholds.

    >>> candidates("free")[:2]
    [{}, {'foreground': 0.05, 'background': 0.05}]
    """
    find_labeller(name)
    if name not in CANDIDATES:
        raise InputError(
            f"the labels {name!r} have no thresholds to calibrate: choose one of {', '.join(CANDIDATES)}, or leave "
            "--calibrate out"
        )
    return [{}, *CANDIDATES[name]]
