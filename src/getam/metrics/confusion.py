"""Mean IoU as PASCAL VOC defines it: one confusion matrix over all pixels of all photos, then scores per class.

An average of per-photo IoUs, which some libraries report under the same name, is another, higher number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from getam.errors import InputError

IGNORE = 255
"""In the truth: the pixel is not scored. In a prediction: no label was given."""

Matrix = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """What a confusion matrix says; per class in the order of the labels, background first.

    With TP, FP and FN counted in pixels and U = TP + FP + FN:
    IoU = TP / U, and of the union that was missed, FP / U is what was painted too much, FN / U what was painted
    too little; IoU + FP / U + FN / U = 1. A class that is neither in the truth nor in the prediction has U = 0:
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
    >>> matrix.update(np.array([[0, 1, 2, 2]]), np.array([[0, 1, 1, 255]]))
    >>> matrix.compute().iou
    (1.0, 0.5, 0.0)
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.matrix: Matrix = np.zeros((classes + 1, classes + 2), np.int64)

    def update(self, prediction: npt.ArrayLike, truth: npt.ArrayLike) -> None:
        """Add the pixels of one photo (or of any arrays of one shape); see `confusion_matrix`."""
        self.matrix += confusion_matrix(prediction, truth, self.classes)

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

    `prediction` and `truth` are integer arrays of one shape with labels 0 (background) to `classes`, or 255.
    Pixels whose truth is 255 are left out. A prediction of 255 is "no label": it is missed by the true class and
    falsely claimed by none. Raises `InputError` for other labels, other dtypes, or two shapes.
    """
    predicted, true = np.asarray(prediction), np.asarray(truth)
    if predicted.shape != true.shape:
        raise InputError(
            f"the prediction is {predicted.shape} but the truth is {true.shape}: they must be of one size."
        )
    for what, label in (("prediction", predicted), ("truth", true)):
        if label.dtype.kind not in "ui":
            raise InputError(f"the {what} is {label.dtype}: labels are whole numbers, for example uint8.")
    scored = true != IGNORE
    rows, columns = true[scored].astype(np.int64), predicted[scored].astype(np.int64)
    columns[columns == IGNORE] = classes + 1
    if rows.size and (rows.min() < 0 or rows.max() > classes):
        raise InputError(
            f"the truth has label {_worst(rows, classes)}: labels are 0 to {classes}, or {IGNORE}."
        )
    if columns.size and (
        columns.min() < 0 or columns.max() > classes + 1 or (predicted[scored] == classes + 1).any()
    ):
        found = _worst(predicted[scored & (predicted != IGNORE)].astype(np.int64), classes)
        raise InputError(f"the prediction has label {found}: labels are 0 to {classes}, or {IGNORE}.")
    shape = (classes + 1, classes + 2)
    counts = np.bincount(rows * shape[1] + columns, minlength=shape[0] * shape[1])
    return counts.reshape(shape).astype(np.int64)


def scores(matrix: Matrix) -> Scores:
    """Scores of a confusion matrix, (C+1, C+2) as from `confusion_matrix` or (C+1, C+1) without "no label".

    Raises `InputError` for another shape.
    """
    if matrix.ndim != 2 or matrix.shape[1] - matrix.shape[0] not in (0, 1):
        raise InputError(f"a confusion matrix is (C+1, C+2) or (C+1, C+1), not {matrix.shape}.")
    labels = matrix.shape[0]
    hits = np.diagonal(matrix).astype(np.float64)
    missed = matrix.sum(axis=1) - hits
    painted = matrix[:, :labels].sum(axis=0) - hits
    union = hits + missed + painted
    total = float(matrix.sum())
    return Scores(
        iou=tuple(_ratios(hits, union).tolist()),
        miou=_mean(_ratios(hits, union)),
        pixel_accuracy=float(hits.sum()) / total if total else float("nan"),
        false_positive_rate=_mean(_ratios(painted, union)),
        false_negative_rate=_mean(_ratios(missed, union)),
    )


def _ratios(part: npt.NDArray[np.float64], union: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.divide(part, union, out=np.full(len(union), np.nan), where=union > 0)


def _mean(values: npt.NDArray[np.float64]) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if present.size else float("nan")


def _worst(labels: npt.NDArray[np.int64], classes: int) -> int:
    """The first label outside 0..classes."""
    return int(labels[(labels < 0) | (labels > classes)][0])
