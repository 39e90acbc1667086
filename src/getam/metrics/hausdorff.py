"""HD95: how far apart two outlines are, but for the farthest twentieth of their pixels.

The 95th percentile in place of the maximum of Hausdorff's distance, as medical papers report it; of each direction by
itself and the larger of the two, as "Metrics reloaded" has it (Maier-Hein, Reinke et al., Nature Methods 2024). MedPy
takes the percentile of both directions together, which is another number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects
from scipy.spatial import KDTree

from getam.errors import InputError
from getam.label_numbers import IGNORE, ignore_label
from getam.metrics.boundary import Mask, outline

PERCENTILE = 95


@dataclass(frozen=True)
class Hausdorff:
    """HD95 in pixels; NaN for what occurs nowhere."""

    mean: float
    """Over the classes that occur."""
    per_class: tuple[float, ...]
    """Of labels 1..C: the mean over the photos with the class in truth or prediction."""


class HausdorffScore:
    """`update` with every photo, `compute` at the end."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self._sums = np.zeros(classes)
        self._photos = np.zeros(classes, np.int64)

    def update(self, prediction: npt.ArrayLike, truth: npt.ArrayLike) -> None:
        """Add one photo: (H,W) integer labels 0..C or undecided, as for `confusion_matrix`."""
        predicted, true = np.asarray(prediction), np.asarray(truth)
        ignore = ignore_label(self.classes)
        for label in np.union1d(np.unique(predicted), np.unique(true)).tolist():
            if label in (0, ignore):
                continue
            if not 0 < label <= self.classes:
                raise InputError(f"label {label} is beyond the {self.classes} classes.")
            found = hausdorff95(predicted, true, label, ignore)
            if found is not None:
                self._sums[label - 1] += found
                self._photos[label - 1] += 1

    def compute(self) -> Hausdorff:
        """The distances of everything added so far."""
        occurs = self._photos > 0
        means = np.divide(self._sums, self._photos, out=np.full(self.classes, math.nan), where=occurs)
        return Hausdorff(float(means[occurs].mean()) if occurs.any() else math.nan, tuple(means.tolist()))


def hausdorff95(
    prediction: npt.NDArray[np.integer], truth: npt.NDArray[np.integer], label: int, ignore: int = IGNORE
) -> float | None:
    """max( P95 of d(p, T) over p ∈ P, P95 of d(t, P) over t ∈ T ): outlines P predicted and T true of one class.

    d is Euclidean, in pixels, between pixel centres, to the nearest pixel of the other outline. An outline are the
    pixels with one outside of the class beside, above or below them; the frame of the photo is outside. A class that
    one of the masks lacks is as far off as the photo is long: its diagonal. Predicted outline where the truth is
    `ignore` is not counted, but true outline may lie near it, as in `boundary.boundary_match`.

    Args:
        prediction, truth: (H,W) labels 0..C or `ignore`.
        label: 1..C.
        ignore: label of what is undecided.

    Returns:
        Pixels ≥ 0; None where neither has the class, or the prediction only where the truth is undecided.

    Raises:
        InputError: two shapes.

    >>> row = np.array([[1, 0, 0, 0, 0, 0]])
    >>> hausdorff95(row, np.roll(row, 3), 1)
    3.0
    """
    if prediction.shape != truth.shape or truth.ndim != 2:
        raise InputError(
            f"the prediction is {prediction.shape} but the truth is {truth.shape}: both must be (H, W)."
        )
    said, true = prediction == label, truth == label
    boxes = find_objects((said | true).astype(np.uint8))
    if not boxes:
        return None
    box = boxes[0]  # outlines lie in it, and what is around it is outside of the class
    said, true = _framed_outline(said[box]), _framed_outline(true[box])
    counted = said & (truth[box] != ignore)
    if not true.any() and not counted.any():
        return None
    if not true.any() or not said.any():
        return math.hypot(*truth.shape)
    return max(_percentile(counted, true), _percentile(true, said))


def _framed_outline(region: Mask) -> Mask:
    return outline(np.pad(region, 1))[1:-1, 1:-1]


def _percentile(points: Mask, others: Mask) -> float:
    """The 95th percentile of the distances from points to the nearest of the others; 0 of no points."""
    if not points.any():
        return 0.0
    distances, _ = KDTree(np.argwhere(others)).query(np.argwhere(points))
    return float(np.percentile(distances, PERCENTILE))
