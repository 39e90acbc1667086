"""Weakly supervised object localisation: boxes around what a map is high on, scored against true boxes and pixels.

Of a map in [0,1] the pixels at or above a threshold τ fall into connected parts, each with a box. BoxAcc(τ, δ) is the
share of photos in which the box of the largest part meets a true box with an IoU of at least δ; BoxAccV2(τ, δ) the
share in which the box of any part does. MaxBoxAcc and MaxBoxAccV2 (Choe et al. 2020, arXiv 2001.07437 and 2007.04178)
are their maxima over τ, the second at δ 0.3, 0.5 and 0.7: chosen on the boxes they are scored on. GT-known localisation
is BoxAcc at δ 0.5; top-1 localisation asks besides that the class with the highest score is the true one. PxAP is
the area under the curve of pixel precision against pixel recall, over the pixels of all photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torchvision.ops import box_iou

from getam.boxes import Boxes, component_boxes
from getam.errors import InputError
from getam.metrics.confusion import Counts
from getam.metrics.thresholds import DEFAULT_THRESHOLDS

IOUS = (0.3, 0.5, 0.7)
HALF = IOUS.index(0.5)
LEVELS = 1000
"""Thresholds of PxAP: 0, 0.001, …, 0.999, and 1 (arXiv 2001.07437)."""

Hits = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class CrossedHits:
    """Hits of every photo at a threshold that was chosen on other photos."""

    thresholds: tuple[float, float]
    """At which the even and the odd photos are scored: the best one of the others, the lowest of equals."""
    hits: Hits
    """(N)."""


@dataclass(frozen=True)
class Localisation:
    """What `LocalisationScore` finds; each of a tuple of three is for an IoU of 0.3, 0.5 and 0.7."""

    box_acc: tuple[CrossedHits, ...]
    """Largest part, thresholds crossed; the second is GT-known localisation."""
    box_acc_v2: tuple[CrossedHits, ...]
    """Any part, thresholds crossed."""
    recognised: Hits
    """(N): whether the highest score is that of the true class."""
    max_box_acc: tuple[float, ...]
    """MaxBoxAcc: the threshold is chosen on the boxes it is scored on."""
    max_box_acc_v2: tuple[float, ...]
    pxap: float | None
    """None where no photo came with a mask."""

    @property
    def top1(self) -> Hits:
        """(N): recognised, and localised at an IoU of 0.5."""
        return self.recognised & self.box_acc[HALF].hits


class LocalisationScore:
    """`update` with every photo, in an order that says nothing about them, such as that of sorted ids; then `compute`.

    Even numbers are one half, odd ones the other, as in `getam.metrics.crossed`.
    """

    def __init__(self, thresholds: Sequence[float] = DEFAULT_THRESHOLDS) -> None:
        self.thresholds = tuple(thresholds)
        self._ious: list[npt.NDArray[np.float64]] = []
        self._recognised: list[bool] = []
        self._pixels = np.zeros((2, LEVELS + 1), np.int64)

    def update(
        self,
        map: npt.NDArray[np.floating],
        boxes: Boxes,
        *,
        recognised: bool,
        truth: npt.NDArray[np.integer] | None = None,
    ) -> None:
        """Add a photo.

        Args:
            map: (H,W) in [0,1], of the true class.
            boxes: (N,4), N ≥ 1, the true ones.
            recognised: whether the highest class score is that of the true class.
            truth: (H,W), 1 where the class is, 0 where it is not, others are not scored.

        Raises:
            InputError: other shapes, values outside [0,1], or no box.
        """
        if map.ndim != 2 or not (map.min() >= 0 and map.max() <= 1):
            raise InputError(
                f"a map is (H, W) in [0, 1] but one is {map.shape} in [{map.min()}, {map.max()}]: subtract its minimum "
                "and divide by its maximum first"
            )
        if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes):
            raise InputError(f"true boxes are {boxes.shape}: they must be (N, 4) of at least one box")
        if truth is not None and truth.shape != map.shape:
            raise InputError(f"the map is {map.shape} but the truth is {truth.shape}: both must be (H, W)")
        self._ious.append(best_ious(map, boxes, self.thresholds))
        self._recognised.append(recognised)
        if truth is not None:
            level = np.floor(map * LEVELS).astype(np.int64)
            for kind in (0, 1):
                self._pixels[kind] += np.bincount(level[truth == kind], minlength=LEVELS + 1)

    def compute(self) -> Localisation:
        """The scores of everything added so far.

        Raises:
            InputError: fewer than two photos, so that no half can choose the other's threshold.
        """
        if len(self._ious) < 2:
            raise InputError(
                "a threshold cannot be chosen on one half of the photos: give at least two photos"
            )
        ious = np.stack(self._ious)
        largest, of_any = (tuple(ious[:, part] >= least for least in IOUS) for part in (0, 1))
        return Localisation(
            box_acc=tuple(crossed_hits(hits, self.thresholds) for hits in largest),
            box_acc_v2=tuple(crossed_hits(hits, self.thresholds) for hits in of_any),
            recognised=np.array(self._recognised),
            max_box_acc=tuple(float(hits.mean(0).max()) for hits in largest),
            max_box_acc_v2=tuple(float(hits.mean(0).max()) for hits in of_any),
            pxap=average_precision(self._pixels) if self._pixels[1].any() else None,
        )


def best_ious(
    map: npt.NDArray[np.floating], boxes: Boxes, thresholds: Sequence[float]
) -> npt.NDArray[np.float64]:
    """(2,T): the highest IoU with any true box, of the box of the largest connected part, and of any part's.

    Args:
        map: (H,W).
        boxes: (N,4).
        thresholds: T; a pixel counts where the map is at or above. Without such a pixel the IoU is 0.
    """
    found = np.zeros((2, len(thresholds)))
    true = torch.from_numpy(boxes).double()
    for place, threshold in enumerate(thresholds):
        guessed, pixels = component_boxes(map >= threshold)
        if len(guessed):
            each = box_iou(torch.from_numpy(guessed).double(), true).amax(1).numpy()
            found[:, place] = each[pixels.argmax()], each.max()
    return found


def crossed_hits(hits: Hits, thresholds: Sequence[float]) -> CrossedHits:
    """Hits (N,T) of N photos at T thresholds → those of each half at the threshold with most hits in the other.

    >>> found = crossed_hits(np.array([[1, 0], [0, 1], [1, 0], [1, 1]], bool), (0.2, 0.4))
    >>> found.thresholds, found.hits.tolist()
    ((0.4, 0.2), [False, False, False, True])
    """
    best = [int(hits[half::2].sum(0).argmax()) for half in (0, 1)]
    chosen = np.where(np.arange(len(hits)) % 2 == 0, best[1], best[0])
    return CrossedHits((thresholds[best[1]], thresholds[best[0]]), hits[np.arange(len(hits)), chosen])


def average_precision(pixels: npt.NDArray[np.int64]) -> float:
    """PxAP = Σ PxPrec(τ)·(PxRec(τ) − PxRec(next higher τ)).

    Args:
        pixels: (2,L) how many pixels without and with the object have their map at each of L rising levels; of the
            second kind there is one at least.
    """
    without, with_it = pixels[:, ::-1].cumsum(1)
    precision = with_it / np.maximum(with_it + without, 1)
    return float((precision * np.diff(with_it / with_it[-1], prepend=0)).sum())


def hit_counts(*hits: Hits) -> Counts:
    """Hits (N), several of the same photos → (N,2,1) as `getam.metrics.bootstrap` draws them: their mean is the mIoU.

    >>> hit_counts(np.array([True, False]), np.array([True, True]))[..., 0].tolist()
    [[2, 2], [1, 2]]
    """
    several = np.stack(hits, 1)
    return np.stack([several.sum(1), np.full(len(several), several.shape[1])], 1)[..., None].astype(np.int64)
