"""How long and how fast to train where nobody says: by the number of photos, what the network starts from and is."""

from __future__ import annotations

import math

from getam.nets.encoder import is_transformer
from getam.recipes.base import EMBEDDED, CommonConfig

PER_ROOT = {
    "embedded": 15.0,
    "pretrained": 25.0,
    "nothing": 100.0,
}  # steps for each square root of the photos
FEWEST = {"embedded": 100, "pretrained": 150, "nothing": 500}
MOST = 2000  # more is a decision
TRANSFORMER_RATE = 3e-5  # of a pretrained one, which forgets at a CNN's (docs/results.md, "The ViT, taught")


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


def suitable_rate(config: CommonConfig) -> float:
    """Learning rate of the pretrained backbone: the recipe's own, where it has one, or by what the backbone is."""
    own, common = (kind.model_fields["pretrained_lr"].default for kind in (type(config), CommonConfig))
    usual: float = own
    if own != common or start_of(config) != "pretrained" or not is_transformer(config.backbone):
        return usual
    return TRANSFORMER_RATE


def complaint(config: CommonConfig, photos: int) -> str:
    """A sentence where the steps are too few to learn from; "" where they are not."""
    start = start_of(config)
    if config.steps >= FEWEST[start] / 2:
        return ""
    return (
        f"{config.steps} steps are too few to learn from: maps and labels will cover whole photos; leave --steps and "
        f"--epochs out for the {suitable_steps(photos, start)} that suit {photos} photos"
    )
