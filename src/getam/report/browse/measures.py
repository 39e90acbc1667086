"""What the gallery sorts photos by: how sure masks are, and how much they agree with others and with the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from getam.data.masks import LabelMap, remap
from getam.data.tags import BACKGROUND
from getam.errors import InputError
from getam.metrics.confusion import Counts, confusion_matrix, hits_and_unions
from getam.metrics.plausibility import NOTHING, Plausibility, plausibility


@dataclass(frozen=True)
class Layer:
    """Masks of one kind: those that are looked at, others to compare them with, or the true ones.

    Attributes:
        name: what the page calls it.
        classes: names of labels 1, 2, …, of which several may be one, as `evaluate` reads them.
        void: whether label 0 is nobody's instead of background.
    """

    name: str
    classes: tuple[str, ...]
    void: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Its classes, each once, without background and without names that are none."""
        return tuple(dict.fromkeys(name for name in self.classes if name and name != BACKGROUND))

    def into(self, label: LabelMap, classes: Sequence[str]) -> LabelMap:
        """A mask of the layer in the numbers of another class list; classes it lacks are undecided."""
        return remap(label, self.classes, classes, background=(BACKGROUND,), void=self.void)


@dataclass(frozen=True)
class Measures:
    """One photo's mask by itself and beside others; per class in the order of the page's classes.

    Attributes:
        alone: what it covers and what looks wrong.
        confidences: of its classes, by name, as its file notes them.
        with_other: (2, C+1) hits and unions against the mask of another folder, background first; None without one.
        with_truth: the same against the true mask. Classes that one of the two folders does not know have no pixel.
    """

    alone: Plausibility
    confidences: Mapping[str, float]
    with_other: Counts | None = None
    with_truth: Counts | None = None

    @property
    def least_sure(self) -> float | None:
        """The lowest of its confidences; None where none is noted."""
        return min(self.confidences.values(), default=None)


def measured(
    mask: LabelMap,
    layer: Layer,
    classes: Sequence[str],
    *,
    confidences: Mapping[str, float],
    other: tuple[LabelMap, Layer] | None = None,
    truth: tuple[LabelMap, Layer] | None = None,
) -> Measures:
    """The measures of one photo.

    Args:
        mask: (H, W) labels of `layer`.
        layer: what they mean.
        classes: C names of the page, without background.
        confidences: of the mask's classes.
        other: the mask of another folder, (H, W), with what it means.
        truth: the true one.

    Raises:
        InputError: masks of different sizes, or with labels beyond their classes.
    """
    shown = Layer(layer.name, layer.classes).into(mask, classes)
    return Measures(
        plausibility(shown, classes),
        confidences,
        None if other is None else overlap((mask, layer), other, classes),
        None if truth is None else overlap((mask, layer), truth, classes),
    )


def overlap(one: tuple[LabelMap, Layer], against: tuple[LabelMap, Layer], classes: Sequence[str]) -> Counts:
    """(2, C+1) hits and unions of a mask against another one, as `getam evaluate` counts them.

    Scored are the classes that both layers have; where `against` is undecided, pixels do not count.
    """
    (mask, its), (reference, theirs) = one, against
    if mask.shape != reference.shape:
        raise InputError(
            f"it is {mask.shape[1]}×{mask.shape[0]} in {its.name} and {reference.shape[1]}×{reference.shape[0]} in "
            f"{theirs.name} (width×height): masks are as large as their photo"
        )
    common = [name for name in classes if name in its.classes and name in theirs.classes]
    said = Layer(its.name, its.classes, its.void or theirs.void).into(mask, common)
    matrix = confusion_matrix(said, theirs.into(reference, common), len(common))
    counts = np.zeros((2, len(classes) + 1), np.int64)
    counts[:, [0, *(classes.index(name) + 1 for name in common)]] = hits_and_unions(matrix)
    return counts


def mean_overlap(counts: Counts) -> float | None:
    """Mean IoU of one photo over its classes without background, or background's where there are no others.

    Background is mostly right and would hide how a photo of one class fares. None where no pixel counts.

    >>> mean_overlap(np.array([[50, 1, 0], [60, 4, 0]]))
    0.25
    >>> mean_overlap(np.array([[50, 0, 0], [50, 0, 0]]))
    1.0
    """
    hits, unions = counts
    there = unions[1:] > 0
    if there.any():
        return float((hits[1:][there] / unions[1:][there]).mean())
    return float(hits[0] / unions[0]) if unions[0] else None


def order_to_look(measures: Mapping[str, Measures]) -> list[str]:
    """Names of photos, those most worth a look first, as in `first-look.html`.

    Those with most doubts first; then the least sure, if masks note that; then those that cover very much or very
    little.
    """

    def key(name: str) -> tuple[int, float, float, str]:
        its = measures[name]
        least = 1.0 if its.least_sure is None else its.least_sure
        return -len(its.alone.doubts), least, -its.alone.worth_a_look, name

    return sorted(measures, key=key)


def occurring(its: Measures, classes: Sequence[str]) -> list[int]:
    """Indices of the classes that one photo has in its mask, in the other one or in the truth."""
    found = []
    for place in range(len(classes)):
        seen = its.alone.covered[place + 1] >= NOTHING
        for counts in (its.with_other, its.with_truth):
            seen = seen or (counts is not None and counts[1, place + 1] > 0)
        if seen:
            found.append(place)
    return found
