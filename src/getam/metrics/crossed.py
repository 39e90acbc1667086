"""The score of maps at a threshold that was not chosen on the masks it is scored on: two halves, each other's judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy.typing as npt

from getam.errors import InputError
from getam.metrics.confusion import Scores, scores
from getam.metrics.thresholds import DEFAULT_THRESHOLDS, ThresholdCurve, ThresholdSweep


@dataclass(frozen=True)
class Crossed:
    """What `CrossFitted` finds."""

    thresholds: tuple[float, float]
    """At which each half of the photos is scored: the best one of the other half, the lowest of equals."""
    scores: Scores
    """Of all photos, from the sum of the two halves' confusion matrices."""
    curve: ThresholdCurve
    """Of all photos; its `best` is chosen on the masks it is scored on."""


class CrossFitted:
    """Threshold sweeps over two halves of the photos: the best threshold of each half scores the other one.

    Deal the photos in an order that says nothing about them, such as that of their sorted ids: `update` with number
    0, 1, 2, …, of which even ones go to the first half. Two-fold cross-fitting (Chernozhukov et al. 2018, "Double/
    debiased machine learning") of a single number, the threshold.
    """

    def __init__(self, classes: int, thresholds: Sequence[float] = DEFAULT_THRESHOLDS) -> None:
        self.halves = (ThresholdSweep(classes, thresholds), ThresholdSweep(classes, thresholds))

    def update(
        self, number: int, maps: npt.ArrayLike, class_ids: Sequence[int], truth: npt.ArrayLike
    ) -> None:
        """Add photo `number`: `maps` (K,H,W) in [0,1], their labels `class_ids` (K) in 1..C, `truth` (H,W)."""
        self.halves[number % 2].update(maps, class_ids, truth)

    def compute(self) -> Crossed:
        """The scores of everything added so far.

        Raises:
            InputError: one half has no pixel to be scored: there are fewer than two photos.
        """
        matrices = [half.matrices() for half in self.halves]
        if not all(each.any() for each in matrices):
            raise InputError(
                "a threshold cannot be chosen on one half of the photos: give at least two photos."
            )
        known = self.halves[0].thresholds
        chosen = [half.compute().best[0] for half in self.halves]
        places = [known.index(threshold) for threshold in chosen]
        crossed = matrices[0][places[1]] + matrices[1][places[0]]
        curve = ThresholdCurve(known, tuple(scores(matrix) for matrix in matrices[0] + matrices[1]))
        return Crossed((chosen[1], chosen[0]), scores(crossed), curve)
