"""How good is a choice made on a few photos? Made again without the photos it is scored on: k-fold cross-validation.

Stone, "Cross-validatory choice and assessment of statistical predictions" (1974). Here the choice is one of T
candidates by the mIoU of the photos together: all that is needed of a photo are its hits and unions under each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from getam.errors import InputError
from getam.metrics.bootstrap import DEFAULT, Bootstrap, Interval, difference_interval
from getam.metrics.confusion import Counts, mean_iou

FOLDS = 10
"""Of ten photos or more; with fewer, each photo is a fold of its own."""


@dataclass(frozen=True)
class CrossValidated:
    """A choice among T candidates, of which the first is the default.

    Attributes:
        chosen: on all photos; the first of equals, so that the default wins a draw.
        by_fold: what was chosen for the photos of each fold, on the others.
        miou: each photo under the candidate that was chosen without it: what the choice is worth on other photos.
        seen_miou: of `chosen` on the photos it was chosen on: too high.
        default_miou: of the first candidate, on the same photos.
        interval: of `miou` − `default_miou`, by drawing photos again; None where no pixel is scored.
    """

    chosen: int
    by_fold: tuple[int, ...]
    miou: float
    seen_miou: float
    default_miou: float
    interval: Interval | None

    @property
    def better(self) -> bool:
        """Whether the choice is surely better than the default: the whole interval is above 0."""
        return self.interval is not None and self.interval[0] > 0


def folds_of(photos: int, seed: int = 0) -> tuple[npt.NDArray[np.int64], ...]:
    """Photos 0 … N − 1 dealt into folds that differ by one photo at most, each in rising order.

    >>> [fold.tolist() for fold in folds_of(3)]
    [[0], [1], [2]]
    >>> len(folds_of(25)), max(map(len, folds_of(25)))
    (10, 3)
    """
    if photos < FOLDS:
        return tuple(np.array([photo]) for photo in range(photos))
    order = np.random.default_rng(seed).permutation(photos)
    return tuple(np.sort(order[fold::FOLDS]) for fold in range(FOLDS))


def choose(counts: Counts) -> int:
    """The candidate of the highest mIoU over all photos, the first of equals; 0 where nothing is scored.

    Args:
        counts: (T,N,2,C+1), `hits_and_unions` of each photo under each candidate.
    """
    found = mean_iou(counts.sum(1))
    return 0 if np.isnan(found).all() else int(np.nanargmax(found))


def cross_validated(counts: Counts, how: Bootstrap = DEFAULT) -> CrossValidated:
    """Choose among candidates, and say what the choice is worth.

    Args:
        counts: (T,N,2,C+1) as for `choose`, N ≥ 2; candidate 0 is the default.
        how: the interval is made, and photos are dealt into folds.

    Raises:
        InputError: another shape, or fewer than two photos.
    """
    if counts.ndim != 4 or not len(counts) or counts.shape[1] < 2 or counts.shape[2] != 2:
        raise InputError(f"counts are {counts.shape}: they must be (T, N, 2, C+1) of at least two photos.")
    photos = np.arange(counts.shape[1])
    held_out = np.empty_like(counts[0])
    by_fold = []
    for fold in folds_of(len(photos), how.seed):
        place = choose(counts[:, np.setdiff1d(photos, fold)])
        held_out[fold] = counts[place, fold]
        by_fold.append(place)
    chosen = choose(counts)
    return CrossValidated(
        chosen, tuple(by_fold), float(mean_iou(held_out.sum(0))), float(mean_iou(counts[chosen].sum(0))),
        float(mean_iou(counts[0].sum(0))), difference_interval(held_out, counts[0], how),
    )  # fmt: skip
