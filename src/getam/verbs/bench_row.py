"""One row of `getam bench`: a map method or a chain, measured on every photo in one pass."""

from __future__ import annotations

import math
import statistics
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from getam.data.collection import Collection, Sample, load_sample_mask
from getam.data.grey_maps import saliency_of
from getam.data.masks import LabelMap, remap
from getam.data.photos import as_tensor, read_photo
from getam.data.tags import BACKGROUND
from getam.errors import InputError
from getam.label_numbers import ignore_label
from getam.metrics.bootstrap import interval, mean_interval
from getam.metrics.boundary import BoundaryScore
from getam.metrics.confusion import (
    ConfusionMatrix,
    Counts,
    Scores,
    confusion_matrix,
    hits_and_unions,
)
from getam.metrics.cost import peak_tensor_bytes, timed
from getam.metrics.crossed import CrossFitted
from getam.metrics.deletion import STEPS, blurred, deletion_insertion
from getam.metrics.thresholds import DEFAULT_THRESHOLDS
from getam.outputs.progress import progress
from getam.photo_size import fit_patches
from getam.pipeline import Pipeline
from getam.refine.scaled import scale_to_peak
from getam.report.bench_photos import as_lines
from getam.report.bench_table import BenchRow

MEGABYTE = 1e6


@dataclass(frozen=True)
class Subject:
    """What every row is measured on: the same network, photos (sorted by id), and questions."""

    net: Any
    collection: Collection
    size: int
    fixed: float
    perturbed: frozenset[str]
    """Names of the photos on which deletion and insertion are measured."""


@dataclass(frozen=True)
class _Photo:
    pixels: Tensor
    """(3,H,W) uint8."""
    image: Tensor
    """(1,3,h,w) float in 0–255, as the network sees it at the bench's size."""
    truth: LabelMap
    present: list[int]
    """Class indices of the network."""
    labels: list[int]
    """The same classes as labels of the collection."""
    saliency: Tensor | None
    """(H,W) float in 0–1."""


def measure_row(subject: Subject, name: str, pipeline: Pipeline, *, labels: bool, what: str) -> BenchRow:
    """Measure one row on all photos.

    Args:
        subject: the network and the photos.
        name: of the row.
        pipeline: single scale, no flip.
        labels: measure its labels; otherwise its maps.
        what: shown with the progress.

    Raises:
        InputError, CaptureError: the row does not fit the network or a photo; scores or maps are not finite.
    """
    measure = _Labels(subject) if labels else _Maps(subject)
    costs: list[tuple[float, float, float]] = []  # seconds, CPU seconds, CPU seconds of a forward
    largest: tuple[tuple[int, int], Sample] | None = None
    samples = subject.collection.samples
    with progress(what, len(samples)) as advance:
        for number, sample in enumerate(samples):
            photo = _read(subject, sample)  # not in a thread beside: the call is being timed
            if photo.present and not costs:
                _forward(subject, photo)
                measure.call(pipeline, photo)  # once beforehand: the first call of everything is slow
            scores, forward = timed(partial(_forward, subject, photo))
            found, taken = timed(partial(measure.call, pipeline, photo))
            if not bool(scores.isfinite().all() and found.isfinite().all()):
                raise InputError(
                    f"{sample.photo}: the network's scores or its maps are not finite (NaN or infinite): it has"
                    " probably diverged; train it again with a smaller --lr"
                )
            if photo.present:
                costs.append((taken.wall, taken.cpu, forward.cpu))
                size = (photo.truth.size, len(photo.present))
                largest = max(largest or (size, sample), (size, sample), key=lambda pair: pair[0])
            measure.add(number, sample, photo, found)
            advance(number + 1)
    memory, (seconds, cpu_seconds, forward_seconds) = 0, (math.nan,) * 3
    if largest is not None:
        seconds, cpu_seconds, forward_seconds = (statistics.median(each) for each in zip(*costs))
        photo = _read(subject, largest[1])
        memory = peak_tensor_bytes(lambda: measure.call(pipeline, photo))
    return BenchRow(
        name=name,
        options=pipeline.method_options,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        forwards=cpu_seconds / forward_seconds if forward_seconds > 0 else math.nan,
        megabytes=memory / MEGABYTE,
        **measure.result(),
    )


class _Maps:
    """Scores of maps."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.classes = len(subject.collection.classes)
        self.sweep = CrossFitted(self.classes)
        self.kept: list[tuple[bytes, bytes]] = []
        self.areas: list[list[tuple[float, float]]] = []  # of each photo, deletion and insertion of its maps

    def call(self, pipeline: Pipeline, photo: _Photo) -> Tensor:
        return pipeline.maps(self.subject.net, photo.pixels, photo.present)

    def add(self, number: int, sample: Sample, photo: _Photo, maps: Tensor) -> None:
        large = enlarge(maps.detach(), photo.truth.shape)
        self.sweep.update(number, large, photo.labels, photo.truth)
        self.kept.append(tuple(zlib.compress(a.tobytes(), 1) for a in levels(large, photo.labels)))  # type: ignore[arg-type]
        if sample.name in self.subject.perturbed:
            self.areas.append(_areas(self.subject, photo, maps.detach()))

    def result(self) -> dict[str, Any]:
        found = self.sweep.compute()
        boundary = BoundaryScore(self.classes)
        crossed: list[Counts] = []
        fixed: list[Counts] = []
        fixed_place = _place(self.subject.fixed)
        for number, (sample, kept) in enumerate(zip(self.subject.collection.samples, self.kept)):
            shape = as_tensor(read_photo(sample.photo)).shape[-2:]
            truth = load_sample_mask(sample, self.subject.collection, (shape[0], shape[1]))
            reached, winner = (
                np.frombuffer(zlib.decompress(b), kind).reshape(shape)
                for b, kind in zip(kept, (np.uint8, np.uint16), strict=True)
            )
            label = np.where(reached > _place(found.thresholds[number % 2]), winner, 0)
            boundary.update(label, truth)
            crossed.append(_counts(label, truth, self.classes))
            fixed.append(_counts(np.where(reached > fixed_place, winner, 0), truth, self.classes))
        best, scores = found.curve.best
        deletion, insertion = ([[area[of] for area in its] for its in self.areas] for of in (0, 1))
        return {
            **_scores(found.scores, crossed, boundary, self.subject.collection.classes),
            "thresholds": found.thresholds,
            "miou_fixed": found.curve.at(self.subject.fixed).miou,
            "miou_fixed_interval": interval(np.stack(fixed)),
            "peak": scores.miou,
            "peak_threshold": best,
            "curve": found.curve.miou,
            "deletion": _mean(deletion),
            "deletion_interval": mean_interval(deletion),
            "insertion": _mean(insertion),
            "insertion_interval": mean_interval(insertion),
        }


class _Labels:
    """Scores of labels."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.matrix = ConfusionMatrix(len(subject.collection.classes))
        self.boundary = BoundaryScore(len(subject.collection.classes))
        self.counts: list[Counts] = []
        self.undecided: list[float] = []

    def call(self, pipeline: Pipeline, photo: _Photo) -> Tensor:
        return pipeline.label(self.subject.net, photo.pixels, photo.present, photo.saliency)

    def add(self, _number: int, _sample: Sample, photo: _Photo, label: Tensor) -> None:
        found = remap(label.cpu().numpy(), self.subject.net.classes, self.subject.collection.classes)
        self.counts.append(hits_and_unions(self.matrix.update(found, photo.truth)))
        self.boundary.update(found, photo.truth)
        self.undecided.append(float((found == ignore_label(self.matrix.classes)).mean()))

    def result(self) -> dict[str, Any]:
        return {
            **_scores(self.matrix.compute(), self.counts, self.boundary, self.subject.collection.classes),
            "undecided": float(np.mean(self.undecided)),
        }


def enlarge(maps: Tensor, size: Sequence[int]) -> npt.NDArray[np.float32]:
    """Maps (1,K,h,w) ≥ 0 → (K,H,W) in [0,1], bilinear, each divided by its own peak."""
    if maps.shape[1] == 0:
        return np.zeros((0, *size), np.float32)
    large = F.interpolate(scale_to_peak(maps), size=tuple(size), mode="bilinear", align_corners=True)
    return scale_to_peak(large)[0].clamp(0, 1).cpu().numpy()


def levels(
    maps: npt.NDArray[np.float32], labels: Sequence[int]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]:
    """How many of the thresholds the largest map reaches, and whose it is: (H,W) uint8 and uint16.

    At threshold i the label is the second where the first is above i, else background: what `ThresholdSweep` counts,
    kept small until the thresholds are known.
    """
    if len(labels) == 0:
        return np.zeros(maps.shape[1:], np.uint8), np.zeros(maps.shape[1:], np.uint16)
    reached = np.searchsorted(np.asarray(DEFAULT_THRESHOLDS), maps.max(axis=0), side="right")
    return reached.astype(np.uint8), np.asarray(labels, np.uint16)[maps.argmax(axis=0)]


def _read(subject: Subject, sample: Sample) -> _Photo:
    pixels = as_tensor(read_photo(sample.photo))
    size = (pixels.shape[-2], pixels.shape[-1])
    seen = fit_patches(*size, subject.size, subject.net.patch)
    device = next(subject.net.parameters()).device
    return _Photo(
        pixels=pixels,
        image=F.interpolate(
            pixels.to(device).float()[None], size=seen, mode="bilinear", antialias=True
        ).clamp(0, 255),
        truth=load_sample_mask(sample, subject.collection, size),
        present=[subject.net.classes.index(tag) for tag in sample.tags],
        labels=[subject.collection.classes.index(tag) + 1 for tag in sample.tags],
        saliency=None if sample.saliency is None else saliency_of(sample, size),
    )


@torch.no_grad()
def _forward(subject: Subject, photo: _Photo) -> Tensor:
    return subject.net.class_scores(photo.image)


def _areas(subject: Subject, photo: _Photo, maps: Tensor) -> list[tuple[float, float]]:
    """Deletion and insertion of every map of a photo."""
    image = photo.image[0]
    baseline = blurred(image)
    small = F.interpolate(maps, size=image.shape[-2:], mode="bilinear", antialias=True)[0]

    @torch.no_grad()
    def probabilities(photos: Tensor) -> Tensor:
        return subject.net.log_odds(subject.net.class_scores(photos)).sigmoid()

    return [
        deletion_insertion(lambda photos, c=c: probabilities(photos)[:, c], image, baseline, map, STEPS)  # type: ignore[misc]
        for c, map in zip(photo.present, small)
    ]


def _mean(photos: Sequence[Sequence[float]]) -> float | None:
    values = [value for its in photos for value in its]
    return float(np.mean(values)) if values else None


def _place(threshold: float) -> int:
    """Which of the thresholds it is."""
    return int(np.abs(np.asarray(DEFAULT_THRESHOLDS) - threshold).argmin())


def _counts(label: npt.NDArray[Any], truth: LabelMap, classes: int) -> Counts:
    return hits_and_unions(confusion_matrix(label, truth, classes))


def _scores(
    scores: Scores, photos: Sequence[Counts], boundary: BoundaryScore, classes: tuple[str, ...]
) -> dict[str, Any]:
    """`photos` holds the counts of every photo that `scores` are of."""
    outlines, counts = boundary.compute(), np.stack(photos)
    return {
        "miou": scores.miou,
        "interval": interval(counts),
        "photos": as_lines(counts),
        "iou": dict(zip((BACKGROUND, *classes), scores.iou, strict=True)),
        "false_positive_rate": scores.false_positive_rate,
        "false_negative_rate": scores.false_negative_rate,
        "boundary_precision": outlines.precision,
        "boundary_recall": outlines.recall,
        "boundary_f": outlines.f,
    }
