"""How far a mIoU could be off for the photos it was measured on: intervals by resampling photos.

Percentile bootstrap (Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13): draw as many photos
as there are, with replacement, again and again; take the mIoU of each draw as `ConfusionMatrix` does, from the sum over
its photos. Photos are drawn, not pixels, because the pixels of one photo are right or wrong together. Two systems that
are compared see the same draws, so that what makes a photo hard for both cancels out of their difference.

What does not vary here: the training run, of which other seeds have to tell, and thresholds that were chosen before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from getam.errors import InputError
from getam.metrics.confusion import Counts, mean_iou

AT_ONCE = 2**22
"""Drawn numbers of photos held at one time: 32 MB."""


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made; part of the protocol of every number that has one.

    Raises `InputError` for no resample, or a level outside of 0–1.
    """

    method: str = "percentile bootstrap over photos"
    resamples: int = 2000
    """With 437 photos the ends then move by 0.001 from seed to seed."""
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 1 or not 0 < self.level < 1:
            raise InputError(
                f"{self.resamples} resamples and a level of {self.level}: give at least one, and a level between"
                " 0 and 1."
            )


DEFAULT = Bootstrap()

Interval = tuple[float, float]
"""Low and high end."""


def interval(counts: Counts, how: Bootstrap = DEFAULT) -> Interval | None:
    """The interval of the mIoU of `counts.sum(0)`.

    Args:
        counts: (N,2,C+1) of N photos, each `hits_and_unions` of its confusion matrix.
        how: resamples, level and seed.

    Returns:
        Both ends, or None of fewer than two photos, or where no pixel of any is scored.

    Raises:
        InputError: another shape.
    """
    return None if len(counts) < 2 else _percentiles(resampled_miou(counts, how), how)


def difference_interval(ours: Counts, theirs: Counts, how: Bootstrap = DEFAULT) -> Interval | None:
    """The interval of the difference of two mIoUs, of `ours` minus `theirs`, on the same photos in the same order.

    Args:
        ours, theirs: (N,2,C+1) as for `interval`.
        how: resamples, level and seed.

    Returns:
        As `interval`.

    Raises:
        InputError: as `interval`, or two shapes.
    """
    if ours.shape != theirs.shape:
        raise InputError(
            f"counts are {ours.shape} and {theirs.shape}: a difference needs two systems on the same photos and"
            " classes."
        )
    if len(ours) < 2:
        return None
    return _percentiles(resampled_miou(ours, how) - resampled_miou(theirs, how), how)


def resampled_miou(counts: Counts, how: Bootstrap = DEFAULT) -> npt.NDArray[np.float64]:
    """(R) mIoU of every resample; NaN of one without a scored pixel.

    Which photos a resample draws depends on N, the number of resamples and the seed alone. A class that occurs in none
    of the drawn photos stays out of the mean, as in `ConfusionMatrix`.

    Args:
        counts: (N,2,C+1), N ≥ 1.
        how: resamples and seed.

    Raises:
        InputError: another shape.
    """
    if counts.ndim != 3 or counts.shape[1] != 2 or not len(counts):
        raise InputError(f"counts are {counts.shape}: they must be (N, 2, C+1) of at least one photo.")
    flat = counts.reshape(len(counts), -1).astype(np.float64)  # sums of whole numbers below 2⁵³ are exact
    return np.concatenate(
        [mean_iou((times @ flat).reshape(-1, *counts.shape[1:])) for times in _drawn(len(counts), how)]
    )


def mean_interval(values: Sequence[Sequence[float]], how: Bootstrap = DEFAULT) -> Interval | None:
    """The interval of the mean of numbers that come photo by photo, some of a photo drawn together.

    Args:
        values: of each photo its numbers, as many as it has: one for every map of its tags.
        how: resamples, level and seed.

    Returns:
        Both ends, or None of fewer than two photos, or without a number.
    """
    if len(values) < 2:
        return None
    each = np.array([(sum(its), len(its)) for its in values])
    sums, numbers = np.concatenate([times @ each for times in _drawn(len(values), how)]).T
    with np.errstate(invalid="ignore"):  # NaN of a resample without a number
        return _percentiles(sums / numbers, how)


def _drawn(photos: int, how: Bootstrap) -> Iterator[npt.NDArray[np.float64]]:
    """How often each resample draws each photo, (rows, N), in parts of as many rows as are held at one time."""
    generator = np.random.default_rng(how.seed)
    part = max(1, AT_ONCE // photos)
    for start in range(0, how.resamples, part):
        rows = min(part, how.resamples - start)
        drawn = generator.integers(0, photos, (rows, photos))
        drawn += np.arange(rows)[:, None] * photos
        yield np.bincount(drawn.ravel(), minlength=rows * photos).reshape(rows, photos).astype(np.float64)


def _percentiles(values: npt.NDArray[np.float64], how: Bootstrap) -> Interval | None:
    known = values[~np.isnan(values)]
    if not known.size:
        return None
    low, high = np.quantile(known, ((1 - how.level) / 2, (1 + how.level) / 2)).tolist()
    return low, high
