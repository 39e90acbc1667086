"""Boundary precision, recall and F of masks: how much of the outline is where the truth has it.

Perazzi et al., "A benchmark dataset and evaluation methodology for video object segmentation" (DAVIS, CVPR 2016),
section 4, after Martin et al. (BSDS, PAMI 2004): two outlines match where they are no farther apart than a tolerance.
Like DAVIS's own evaluation we dilate with a disc instead of solving the bipartite matching.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from getam.errors import InputError
from getam.label_numbers import IGNORE, ignore_label

TOLERANCE = 0.0075
"""Of the photo's diagonal; 0.75 % is BSDS's, of which DAVIS uses 0.8 %."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Boundary:
    """Boundary scores; per class, and their means over the classes that occur (NaN: the class does not)."""

    precision: float
    recall: float
    f: float
    """Mean over classes of the mean over photos of F, which is not the F of the two means beside it."""
    f_per_class: tuple[float, ...]
    """Of labels 1..C."""


class BoundaryScore:
    """`update` with every photo, `compute` at the end.

    A class counts in the photos where the truth has an outline of it, or the prediction one that can be scored: what is
    painted where the truth is 255 only is neither right nor wrong. Background has no outline of its own.
    """

    def __init__(self, classes: int, tolerance: float = TOLERANCE) -> None:
        self.classes, self.tolerance = classes, tolerance
        self._sums = np.zeros((classes, 3))
        self._photos = np.zeros(classes, np.int64)

    def update(self, prediction: npt.ArrayLike, truth: npt.ArrayLike) -> None:
        """Add one photo: (H,W) integer labels 0..C or 255, as for `confusion_matrix`."""
        predicted, true = np.asarray(prediction), np.asarray(truth)
        _check_shapes(predicted, true)
        radius = tolerance_pixels(predicted.shape, self.tolerance)
        for label in np.union1d(np.unique(predicted), np.unique(true)).tolist():
            if label in (0, ignore_label(self.classes)):
                continue
            if not 0 < label <= self.classes:
                raise InputError(f"label {label} is beyond the {self.classes} classes.")
            found = boundary_match(predicted, true, label, radius, ignore_label(self.classes))
            if found is not None:
                precision, recall = found
                self._sums[label - 1] += (precision, recall, harmonic_mean(precision, recall))
                self._photos[label - 1] += 1

    def compute(self) -> Boundary:
        """The scores of everything added so far; NaN when no class had an outline."""
        occurs = self._photos > 0
        means = np.full((self.classes, 3), np.nan)
        means[occurs] = self._sums[occurs] / self._photos[occurs, None]
        precision, recall, f = means[occurs].mean(axis=0).tolist() if occurs.any() else [math.nan] * 3
        return Boundary(precision, recall, f, tuple(means[:, 2].tolist()))


def boundary_match(
    prediction: npt.NDArray[np.integer],
    truth: npt.NDArray[np.integer],
    label: int,
    radius: float,
    ignore: int = IGNORE,
) -> tuple[float, float] | None:
    """(precision, recall) of the outline of one class in one photo, or None where there is none to be scored.

    The outline of a class are its pixels with one of another label beside, above or below them (the frame of the photo
    is no outline). Precision is the share of the predicted outline that lies within `radius` pixels (Euclidean) of the
    true one, recall the share of the true outline within `radius` of the predicted one. An outline without any
    counterpart has precision 0 and recall 1, or the other way round, hence F = 0.

    Where the truth is 255, nobody knows: predicted outline there is not counted against precision, but true outline
    beside it can match it, since VOC lays a band of 255 around every object. Without true outline, and with predicted
    outline nowhere else, the class does not occur: None.

    Args:
        prediction, truth: (H,W) labels 0..C or 255.
        label: 1..C.
        radius: in pixels.
        ignore: label of what is undecided.

    Raises:
        InputError: two shapes.
    """
    _check_shapes(prediction, truth)
    predicted, true = outline(prediction == label), outline(truth == label)
    counted = predicted & (truth != ignore)
    if not counted.any() and not true.any():
        return None
    return _share_within(counted, true, radius), _share_within(true, predicted, radius)


def outline(region: Mask) -> Mask:
    """The pixels of a region (H,W) bool that have a pixel outside of it to the left, right, above or below.

    >>> outline(np.array([[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0]], bool)).astype(int)[1]
    array([0, 0, 1, 0])
    """
    padded = np.pad(region, 1, mode="edge")
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return region & ~inside


def tolerance_pixels(shape: tuple[int, ...], tolerance: float = TOLERANCE) -> int:
    """Pixels of a tolerance given as a share of the diagonal, rounded up as in DAVIS.

    >>> tolerance_pixels((375, 500))
    5
    """
    return math.ceil(tolerance * math.hypot(*shape))


def harmonic_mean(precision: float, recall: float) -> float:
    """F = 2 P R / (P + R); 0 where both are 0."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _check_shapes(prediction: npt.NDArray[np.integer], truth: npt.NDArray[np.integer]) -> None:
    if prediction.shape != truth.shape or truth.ndim != 2:
        raise InputError(
            f"the prediction is {prediction.shape} but the truth is {truth.shape}: both must be (H, W)."
        )


def _share_within(points: Mask, others: Mask, radius: float) -> float:
    """Share of `points` with one of `others` no farther than `radius`; 1 of no points, 0 of no others."""
    if not points.any():
        return 1.0
    if not others.any():
        return 0.0
    return float((distance_transform_edt(~others)[points] <= radius).mean())
