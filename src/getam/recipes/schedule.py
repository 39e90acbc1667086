"""How long to train where nobody says: steps by the number of photos and by what the network starts from."""

from __future__ import annotations

import math

from getam.recipes.base import EMBEDDED, CommonConfig

PER_ROOT = {
    "embedded": 15.0,
    "pretrained": 25.0,
    "nothing": 100.0,
}  # steps for each square root of the photos
FEWEST = {"embedded": 100, "pretrained": 150, "nothing": 500}
MOST = 2000  # more is a decision


def start_of(config: CommonConfig) -> str:
    """What the network starts from: "embedded", "pretrained" or "nothing"."""
    if config.weights == EMBEDDED:
        return "embedded"
    return "pretrained" if config.pretrained else "nothing"


def suitable_steps(photos: int, start: str) -> int:
    """Optimiser steps for a data set of that many photos, by `start_of`.

    A class is learned after a number of steps, not of passes: sixty photos need many passes, thousands a few. Found by
    trying, on photos of other classes than those in docs/results.md.

    >>> suitable_steps(60, "pretrained"), suitable_steps(2694, "pretrained")
    (194, 1298)
    """
    return min(MOST, max(FEWEST[start], round(PER_ROOT[start] * math.sqrt(photos))))


def complaint(config: CommonConfig, photos: int) -> str:
    """A sentence where the steps are too few to learn from; "" where they are not."""
    start = start_of(config)
    if config.steps >= FEWEST[start] / 2:
        return ""
    return (
        f"{config.steps} steps are too few to learn from: maps and labels will cover whole photos; leave --steps and "
        f"--epochs out for the {suitable_steps(photos, start)} that suit {photos} photos"
    )
