"""One row of `getam localise`: the boxes of one method's maps, on photos of one tag and a true box of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from getam.boxes import Boxes, component_boxes
from getam.data.box_table import check_inside, read_boxes
from getam.data.collection import Collection, Sample, load_sample_mask
from getam.data.masks import LabelMap
from getam.data.photos import as_tensor, read_photo
from getam.data.tags import BACKGROUND
from getam.errors import InputError
from getam.maps.methods.multi_layer import min_max
from getam.metrics.bootstrap import interval
from getam.metrics.localisation import HALF, LocalisationScore, hit_counts
from getam.outputs.progress import progress, say
from getam.photo_size import fit_patches
from getam.pipeline import Pipeline
from getam.report.localise_table import LocaliseRow


@dataclass(frozen=True)
class Subject:
    """What every row is measured on: the network, photos of one tag (sorted by id), and their true boxes by name."""

    net: Any
    collection: Collection
    size: int
    boxes: Mapping[str, Boxes]


def choose_photos(
    net: Any, collection: Collection, size: int, data: Path, boxes: Path | None, photos: int | None
) -> Subject:
    """The photos with one tag, and a true box; the others are counted on stderr."""
    samples = sorted((s for s in collection.samples if len(s.tags) == 1), key=lambda sample: sample.name)
    if photos is not None:
        samples = samples[: max(photos, 0)]
    find = _from_masks(collection) if boxes is None else _from_csv(boxes, data, collection)
    found = {sample.name: find(sample) for sample in samples}
    kept = tuple(sample for sample in samples if len(found[sample.name]))
    if len(kept) < len(samples):
        first = next(sample for sample in samples if not len(found[sample.name]))
        say(
            f"{len(samples) - len(kept)} of {len(samples)} photos with one tag have no true box of it and are left out,"
            f" the first is {first.photo}"
        )
    if len(kept) < 2:
        raise InputError(
            f"{len(kept)} photos have exactly one tag of {', '.join(collection.classes)} and a true box of it: at least"
            " two are needed to choose each other's threshold; name the classes to localise with --classes, so that"
            " others do not count"
        )
    return Subject(net, replace(collection, samples=kept), size, found)


def _from_masks(collection: Collection) -> Callable[[Sample], Boxes]:
    if not any(sample.mask for sample in collection.samples):
        raise InputError(
            "there are no true boxes: give a folder of true masks with --truth, or a CSV of boxes with --boxes"
        )

    def find(sample: Sample) -> Boxes:
        if sample.mask is None:
            return np.zeros((0, 4), np.int64)
        return component_boxes(_truth(collection, sample, _size(sample)) == 1)[0]

    return find


def _from_csv(path: Path, data: Path, collection: Collection) -> Callable[[Sample], Boxes]:
    known = {photo.resolve(): boxes for photo, boxes in read_boxes(path, data, collection.classes).items()}

    def find(sample: Sample) -> Boxes:
        boxes = known.get(sample.photo.resolve(), {}).get(sample.tags[0], np.zeros((0, 4), np.int64))
        if len(boxes):
            check_inside(path, sample.photo, boxes, _size(sample))
        return boxes

    return find


def _size(sample: Sample) -> tuple[int, int]:
    height, width = as_tensor(read_photo(sample.photo)).shape[-2:]
    return height, width


def _truth(collection: Collection, sample: Sample, size: tuple[int, int]) -> LabelMap:
    """(H,W): 1 where the photo's one class is, 0 where anything else is, 255 where nobody knows."""
    others = tuple(name for name in collection.mask_classes if name not in (*sample.tags, BACKGROUND))
    return load_sample_mask(sample, replace(collection, classes=sample.tags, background=others), size)


def measure_row(subject: Subject, name: str, pipeline: Pipeline, what: str) -> LocaliseRow:
    """One row on all photos.

    Raises:
        InputError, CaptureError: the method does not fit the network or a photo; scores or maps are not finite.
    """
    score = LocalisationScore()
    samples = subject.collection.samples
    with progress(what, len(samples)) as advance:
        for number, sample in enumerate(samples):
            pixels = as_tensor(read_photo(sample.photo))
            size = (pixels.shape[-2], pixels.shape[-1])
            own = subject.net.classes.index(sample.tags[0])
            maps = F.interpolate(
                pipeline.maps(subject.net, pixels, [own]).detach(), size=size, mode="bilinear", align_corners=False
            )  # fmt: skip
            truth = None if sample.mask is None else _truth(subject.collection, sample, size)
            score.update(
                min_max(maps)[0, 0].clamp(0, 1).cpu().numpy(), subject.boxes[sample.name],
                recognised=_best_class(subject, pixels) == sample.tags[0], truth=truth,
            )  # fmt: skip
            advance(number + 1)
    found = score.compute()
    known = found.box_acc[HALF]
    several = hit_counts(*(each.hits for each in found.box_acc_v2))
    return LocaliseRow(
        name=name,
        options=pipeline.method_options,
        gt_known=float(known.hits.mean()),
        gt_known_interval=interval(hit_counts(known.hits)),
        thresholds=known.thresholds,
        top1=float(found.top1.mean()),
        top1_interval=interval(hit_counts(found.top1)),
        accuracy=float(found.recognised.mean()),
        box_acc=tuple(float(each.hits.mean()) for each in found.box_acc),
        box_acc_v2=(each_v2 := tuple(float(each.hits.mean()) for each in found.box_acc_v2)),
        mean_box_acc_v2=sum(each_v2) / len(each_v2),
        mean_box_acc_v2_interval=interval(several),
        max_box_acc=found.max_box_acc,
        max_box_acc_v2=found.max_box_acc_v2,
        pxap=found.pxap,
        hits="".join(str(int(hit)) for hit in known.hits),
    )


@torch.no_grad()
def _best_class(subject: Subject, pixels: torch.Tensor) -> str:
    """Of the classes of the collection, the one with the highest score."""
    net, classes = subject.net, subject.collection.classes
    seen = fit_patches(pixels.shape[-2], pixels.shape[-1], subject.size, net.patch)
    image = pixels.to(next(net.parameters()).device).float()[None]
    scores = net.class_scores(F.interpolate(image, size=seen, mode="bilinear", antialias=True).clamp(0, 255))
    own = scores[0, [net.classes.index(name) for name in classes]]
    if not bool(own.isfinite().all()):
        raise InputError(
            "the network's scores are not finite (NaN or infinite): it has probably diverged; train it again with a"
            " smaller --lr"
        )
    return classes[int(own.argmax())]
