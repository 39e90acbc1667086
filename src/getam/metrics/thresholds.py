"""How good are class maps as masks? Their mIoU at every background threshold, from one pass over the pixels.

The seed evaluation of the field (IRN, arXiv 1904.05044, and all after it): a pixel is background where its
largest map is below the threshold t, else it has the class of that map. The best threshold was chosen on the
truth: report it as such, next to the score at a threshold fixed beforehand (arXiv 2001.07437).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from getam.errors import InputError
from getam.label_numbers import ignore_label
from getam.metrics.confusion import Matrix, Scores, scores

DEFAULT_THRESHOLDS = tuple(step / 100 for step in range(1, 100))
"""0.01, 0.02, …, 0.99."""


@dataclass(frozen=True)
class ThresholdCurve:
    """mIoU against background threshold."""

    thresholds: tuple[float, ...]
    """Rising."""
    scores: tuple[Scores, ...]
    """One for every threshold."""

    @property
    def miou(self) -> tuple[float, ...]:
        """mIoU at every threshold."""
        return tuple(each.miou for each in self.scores)

    @property
    def best(self) -> tuple[float, Scores]:
        """The threshold of the highest mIoU, the lowest of equals, and its scores; chosen on the truth."""
        place = int(np.nanargmax(self.miou)) if not np.isnan(self.miou).all() else 0
        return self.thresholds[place], self.scores[place]

    def at(self, threshold: float) -> Scores:
        """The scores at one of the thresholds. Raises `InputError` for another one."""
        for known, found in zip(self.thresholds, self.scores, strict=True):
            if abs(known - threshold) < 1e-9:
                return found
        raise InputError(
            f"threshold {threshold} is not on the curve: it has {', '.join(map(str, self.thresholds))}."
        )


class ThresholdSweep:
    """Confusion matrices at many thresholds: `update` with every photo, `compute` the curve at the end."""

    def __init__(self, classes: int, thresholds: Sequence[float] = DEFAULT_THRESHOLDS) -> None:
        self.classes = classes
        self.thresholds = tuple(sorted(set(thresholds)))
        if not self.thresholds:
            raise InputError("a threshold curve needs at least one threshold.")
        self._histogram = np.zeros((len(self.thresholds) + 1, classes + 1, classes + 1), np.int64)

    def update(self, maps: npt.ArrayLike, class_ids: Sequence[int], truth: npt.ArrayLike) -> None:
        """Add one photo: `maps` (K, H, W) in [0, 1], their labels `class_ids` (K) in 1..C, `truth` (H, W)."""
        self._histogram += _histogram(maps, class_ids, truth, self.classes, self.thresholds)

    def merge(self, other: ThresholdSweep) -> None:
        """Add the sums of another process. Raises `InputError` for other classes or thresholds."""
        if (other.classes, other.thresholds) != (self.classes, self.thresholds):
            raise InputError("threshold sweeps of different classes or thresholds cannot be merged.")
        self._histogram += other._histogram

    def matrices(self) -> Matrix:
        """(T, C+1, C+1) int64: the confusion matrix at every threshold, rows truth, columns prediction."""
        return _matrices(self._histogram)

    def compute(self) -> ThresholdCurve:
        """The curve of everything added so far."""
        return ThresholdCurve(self.thresholds, tuple(scores(matrix) for matrix in self.matrices()))


def threshold_curve(
    maps: npt.ArrayLike,
    class_ids: Sequence[int],
    truth: npt.ArrayLike,
    classes: int,
    thresholds: Sequence[float] = DEFAULT_THRESHOLDS,
) -> ThresholdCurve:
    """The curve of a single photo; for a data set use `ThresholdSweep`.

    Args:
        maps: (K, H, W) float in [0, 1], one map for every class the photo is tagged with; K may be 0.
        class_ids: (K) labels of the maps, 1..C.
        truth: (H, W) integer labels, 0 background, 1..C, `ignore_label` not scored.
        classes: C.
        thresholds: Background thresholds.

    Raises `InputError` for maps out of range or not finite, other shapes, or labels beyond C.
    """
    sweep = ThresholdSweep(classes, thresholds)
    sweep.update(maps, class_ids, truth)
    return sweep.compute()


def _histogram(
    maps: npt.ArrayLike,
    class_ids: Sequence[int],
    truth: npt.ArrayLike,
    classes: int,
    thresholds: tuple[float, ...],
) -> Matrix:
    """(T+1, C+1, C+1) counts of pixels by thresholds reached (0..T), true label, class of the largest map."""
    values, true = np.asarray(maps), np.asarray(truth)
    ids = np.asarray(class_ids, np.int64)
    if values.ndim != 3 or values.shape[1:] != true.shape or len(ids) != len(values):
        raise InputError(
            f"maps are {values.shape} with {len(ids)} class ids but the truth is {true.shape}: maps must be (K, H, W), "
            "class ids (K) and the truth (H, W)."
        )
    if ids.size and (ids.min() < 1 or ids.max() > classes):
        raise InputError(f"class ids {ids.tolist()} must be labels from 1 to {classes}.")
    ignore = ignore_label(classes)
    scored = true != ignore
    rows = true[scored].astype(np.int64)
    if rows.size and (rows.min() < 0 or rows.max() > classes):
        raise InputError(f"the truth has labels up to {rows.max()}: labels are 0 to {classes}, or {ignore}.")
    reached = np.zeros(rows.shape, np.int64)
    winner = np.zeros(rows.shape, np.int64)
    if len(ids):
        if lost := int((~np.isfinite(values)).sum()):
            raise InputError(
                f"{lost} of {values.size} values of the maps are not finite (NaN or infinite): the network that made"
                " them has probably diverged; train it again with a smaller --lr."
            )
        if values.size and not (values.min() >= 0 and values.max() <= 1):
            raise InputError(
                f"maps range from {values.min()} to {values.max()}: divide each by its maximum first."
            )
        inside = values[:, scored]
        winner = ids[inside.argmax(axis=0)]
        reached = np.searchsorted(np.asarray(thresholds), inside.max(axis=0), side="right")
    shape = (len(thresholds) + 1, classes + 1, classes + 1)
    flat = (reached * shape[1] + rows) * shape[2] + winner
    return np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape).astype(np.int64)


def _matrices(histogram: Matrix) -> Matrix:
    """At threshold i, pixels that reached more than i thresholds keep their class, others are background."""
    from_top = histogram[::-1].cumsum(axis=0)[::-1]
    matrices = from_top[1:].copy()
    matrices[:, :, 0] += (histogram.sum(axis=0)[None] - from_top[1:]).sum(axis=2)
    return matrices
