"""Times alternatives in turns: every round runs each of them once, so that drift and neighbours hit all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median


def rounds(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each call in each round, after one round that warms up; odd rounds run in reverse order."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        order = list(calls) if turn % 2 else list(calls)[::-1]
        for name in order:
            began = time.perf_counter()
            calls[name]()
            took = time.perf_counter() - began
            print(f"  {'warm-up' if turn == 0 else f'{turn}/{repeats}'} {name}: {took:.3f} s", flush=True)
            if turn:
                seconds[name].append(took)
    return seconds


def ratio(seconds: Mapping[str, list[float]], of: str, to: str) -> float:
    """Median over the rounds of time(of) / time(to)."""
    return median(a / b for a, b in zip(seconds[of], seconds[to], strict=True))


def spread(seconds: Mapping[str, list[float]], of: str, to: str) -> str:
    """Both medians in seconds, and the smallest and largest ratio of a round."""
    found = [a / b for a, b in zip(seconds[of], seconds[to], strict=True)]
    return (
        f"{median(seconds[of]):.3g} s / {median(seconds[to]):.3g} s, rounds {min(found):.3g}–{max(found):.3g}"
    )
