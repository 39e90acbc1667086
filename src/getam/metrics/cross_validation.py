"""How good is a choice made on a few photos? Made again without the photos it is scored on: k-fold cross-validation.

Stone, "Cross-validatory choice and assessment of statistical predictions" (1974). Here the choice is one of T
candidates by the mIoU of the photos together: all that is needed of a photo are its hits and unions under each.

The interval of the cross-validated difference takes what each fold chose as given, which the folds, sharing most of
their photos, agree on by chance: on simulated candidates that are no better than the default, it alone called 3 to 16
of 100 choices better. So a choice must also pass `chance_of`; both together called 1 to 4 of 100 better (ten
candidates, three kinds of noise, 10, 20 and 30 photos, each 300 times).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from getam.errors import InputError
from getam.metrics.bootstrap import DEFAULT, Bootstrap, Interval, difference_interval
from getam.metrics.confusion import Counts, mean_iou

ALPHA = 0.05
"""How often a choice that is no better may be called better."""

EXCHANGES = 2000
"""Drawn, beyond `ALL_UP_TO` photos."""

ALL_UP_TO = 10
"""Photos of which all 2ᴺ ways to exchange are looked at."""

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
        chance: `chance_of` the choice.
    """

    chosen: int
    by_fold: tuple[int, ...]
    miou: float
    seen_miou: float
    default_miou: float
    interval: Interval | None
    chance: float

    @property
    def better(self) -> bool:
        """Whether the choice is surely better: the whole interval is above 0, and chance hardly ever gives as much."""
        return self.interval is not None and self.interval[0] > 0 and self.chance <= ALPHA


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


def chance_of(counts: Counts, seed: int = 0) -> float:
    """How often the best of the candidates would look as good as the chosen one, were none better than the default.

    Permutation test with the maximum statistic (Westfall and Young, "Resampling-based multiple testing", 1993): if a
    candidate is no better, it may as well change places with the default in any photos. In the same photos for all
    candidates, each one's gain in mIoU over its root mean square; the chosen one's against the highest of all.

    Args:
        counts: as for `choose`.
        seed: of what is drawn where photos are more than `ALL_UP_TO`.

    Returns:
        In (0, 1]; 1 where the default is chosen.
    """
    chosen, photos = choose(counts), counts.shape[1]
    if not chosen:
        return 1.0
    if photos <= ALL_UP_TO:
        exchanged = (np.arange(2**photos)[:, None] >> np.arange(photos)) & 1
    else:
        exchanged = np.random.default_rng(seed).integers(0, 2, (EXCHANGES, photos))
        exchanged[0] = 0  # what was found is one of the ways
    highest, own = np.full(len(exchanged), -np.inf), 0.0
    default = counts[0].sum(0)
    for place in range(1, len(counts)):
        differs = (counts[place] - counts[0]).reshape(photos, -1)
        moved = (exchanged @ differs).reshape(-1, *default.shape)
        gains = np.nan_to_num(mean_iou(counts[place].sum(0) - moved) - mean_iou(default + moved))
        scale = np.sqrt(np.mean(gains**2))
        if scale > 0:
            highest = np.maximum(highest, gains / scale)
            own = gains[0] / scale if place == chosen else own
    return float(np.mean(highest >= own - 1e-9))


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
        float(mean_iou(counts[0].sum(0))), difference_interval(held_out, counts[0], how), chance_of(counts, how.seed),
    )  # fmt: skip
