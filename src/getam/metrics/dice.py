"""Dice as medical papers report it: of every photo by itself, then the mean; classes without background."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from getam.metrics.confusion import Counts


@dataclass(frozen=True)
class Dice:
    """Dice scores, 0–1; NaN for what occurs nowhere."""

    mean: float
    """Over the classes that occur."""
    per_class: tuple[float, ...]
    """Of labels 1..C: the mean over the photos with the class in truth or prediction."""


def dice(counts: Counts) -> Dice:
    """2 TP / (2 TP + FP + FN) per photo and class, where that is defined; its means.

    A mean over photos, unlike mIoU: a slice counts as much as another, however little of the organ it shows. A photo
    that has a class in neither mask says nothing of it.

    Args:
        counts: (N,2,C+1) `confusion.hits_and_unions` of every photo, background first.

    >>> dice(np.array([[[5, 1], [6, 3]], [[5, 0], [5, 0]], [[0, 2], [2, 2]]]))  # the second photo is without
    Dice(mean=0.75, per_class=(0.75,))
    """
    hits, unions = counts[:, 0, 1:], counts[:, 1, 1:]
    found = []
    for own, union in zip(hits.T, unions.T, strict=True):
        occurs = union > 0
        found.append(float((2 * own[occurs] / (union + own)[occurs]).mean()) if occurs.any() else math.nan)
    known = [value for value in found if not math.isnan(value)]
    return Dice(float(np.mean(known)) if known else math.nan, tuple(found))
