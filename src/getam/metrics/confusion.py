"""Mean IoU as PASCAL VOC defines it: one confusion matrix over all pixels of all photos, then the scores.

An average of per-photo IoUs, which some libraries report under the same name, is another, higher number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from getam.errors import InputError
from getam.label_numbers import ignore_label

Matrix = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int64]
"""(…,2,C+1): TP and TP + FP + FN of every label in pixels."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """What a confusion matrix says; per class in the order of the labels, background first.

    With TP, FP and FN counted in pixels and U their sum: IoU = TP / U, painted too much FP / U, painted
    too little FN / U; the three add up to 1. A class in neither the truth nor the prediction has U = 0:
    its scores are NaN and stay out of the means.
    """

    iou: tuple[float, ...]
    """TP / U per class, 0–1 or NaN."""
    miou: float
    """Mean of `iou` over the classes that occur; NaN when none does."""
    pixel_accuracy: float
    """Correct pixels / scored pixels."""
    false_positive_rate: float
    """Mean of FP / U over the classes that occur."""
    false_negative_rate: float
    """Mean of FN / U over the classes that occur."""


class ConfusionMatrix:
    """The sums behind the scores of a whole data set: `update` with every photo, `compute` at the end.

    >>> matrix = ConfusionMatrix(classes=2)
    >>> _ = matrix.update(np.array([[0, 1, 2, 2]]), np.array([[0, 1, 1, 255]]))
    >>> matrix.compute().iou
    (1.0, 0.5, 0.0)
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.matrix: Matrix = np.zeros((classes + 1, classes + 2), np.int64)

    def update(self, prediction: npt.ArrayLike, truth: npt.ArrayLike) -> Matrix:
        """Add the pixels of one photo (or of any arrays of one shape), and return their own `confusion_matrix`."""
        counted = confusion_matrix(prediction, truth, self.classes)
        self.matrix += counted
        return counted

    def merge(self, other: ConfusionMatrix) -> None:
        """Add the sums of another process or part. Raises `InputError` for another number of classes."""
        if other.classes != self.classes:
            raise InputError(
                f"confusion matrices of {self.classes} and {other.classes} classes cannot be merged."
            )
        self.matrix += other.matrix

    def compute(self) -> Scores:
        """The scores of everything added so far."""
        return scores(self.matrix)


def confusion_matrix(prediction: npt.ArrayLike, truth: npt.ArrayLike, classes: int) -> Matrix:
    """(C+1, C+2) int64 counts of pixels: row = truth 0..C, column = prediction 0..C, last column = no label.

    `prediction` and `truth` are integer arrays of one shape with labels 0 (background) to `classes`, or undecided: 255,
    and 65535 beyond 254 classes. Pixels whose truth is undecided are left out. Where the prediction is, it is "no
    label": the true class missed it and no class painted it falsely. Raises `InputError` for other labels, other
    dtypes, or two shapes.
    """
    predicted, true = np.asarray(prediction), np.asarray(truth)
    if predicted.shape != true.shape:
        raise InputError(
            f"the prediction is {predicted.shape} but the truth is {true.shape}: they must be of one size."
        )
    ignore = ignore_label(classes)
    for what, label in (("prediction", predicted), ("truth", true)):
        if label.dtype.kind not in "ui":
            raise InputError(f"the {what} is {label.dtype}: labels are whole numbers, for example uint8.")
        beyond = ((label < 0) | (label > classes)) & (label != ignore)
        if beyond.any():
            raise InputError(
                f"the {what} has label {label[beyond][0]}: labels are 0 to {classes}, or {ignore}."
            )
    scored = true != ignore
    rows, columns = true[scored].astype(np.int64), predicted[scored].astype(np.int64)
    columns[columns == ignore] = classes + 1
    shape = (classes + 1, classes + 2)
    counts = np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1])
    return counts.reshape(shape).astype(np.int64)


def scores(matrix: Matrix) -> Scores:
    """Scores of a confusion matrix, (C+1, C+2) as from `confusion_matrix` or (C+1, C+1) without "no label".

    Raises `InputError` for another shape.
    """
    if matrix.ndim != 2 or matrix.shape[1] - matrix.shape[0] not in (0, 1):
        raise InputError(f"a confusion matrix is (C+1, C+2) or (C+1, C+1), not {matrix.shape}.")
    counts = hits_and_unions(matrix)
    hits, union = counts
    missed = matrix.sum(axis=1) - hits
    total = float(matrix.sum())
    return Scores(
        iou=tuple(_ratios(hits, union).tolist()),
        miou=float(mean_iou(counts)),
        pixel_accuracy=float(hits.sum()) / total if total else float("nan"),
        false_positive_rate=float(_mean(_ratios(union - hits - missed, union))),
        false_negative_rate=float(_mean(_ratios(missed, union))),
    )


def hits_and_unions(matrix: Matrix) -> Counts:
    """(2, C+1) int64: TP, and TP + FP + FN, of every label of a confusion matrix as `scores` takes it.

    They are all that mIoU needs, and those of several photos add up.
    """
    hits = np.diagonal(matrix)
    painted = matrix[:, : matrix.shape[0]].sum(axis=0)
    return np.stack([hits, matrix.sum(axis=1) + painted - hits])


def mean_iou(counts: npt.NDArray[Any]) -> Floats:
    """mIoU of `hits_and_unions`, or of sums of them: (…,2,C+1) → (…), over the classes that occur; NaN of none.

    >>> float(mean_iou(np.array([[1, 1, 0], [1, 2, 0]])))
    0.75
    """
    return _mean(_ratios(counts[..., 0, :], counts[..., 1, :]))


def _ratios(part: npt.NDArray[Any], union: npt.NDArray[Any]) -> Floats:
    return np.divide(part, union, out=np.full(union.shape, np.nan), where=union > 0)


def _mean(values: Floats) -> Floats:
    """Mean over the last axis of what is not NaN; NaN where everything is."""
    known = ~np.isnan(values)
    count = known.sum(axis=-1)
    total = np.where(known, values, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
