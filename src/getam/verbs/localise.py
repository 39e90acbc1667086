"""`getam localise`: the box a map puts around its object, of any map method, scored as WSOL is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from getam.boxes import Boxes, component_boxes
from getam.data.box_table import check_inside, read_boxes
from getam.data.collection import Collection, Sample, load_sample_mask
from getam.data.fingerprint import file_hash, take_fingerprint
from getam.data.masks import LabelMap, write_atomically
from getam.data.photos import as_tensor, read_photo
from getam.data.tags import BACKGROUND
from getam.engine.device import choose_device
from getam.engine.environment import environment
from getam.engine.model import load_model
from getam.engine.weights_hash import weights_hash
from getam.errors import GetamError, InputError
from getam.maps.methods.multi_layer import min_max
from getam.maps.registry import REGISTRY
from getam.metrics.bootstrap import DEFAULT, difference_interval, interval
from getam.metrics.localisation import HALF, LocalisationScore, hit_counts
from getam.nets.embedded import embedded_model
from getam.outputs.kept_rows import KeptRows
from getam.outputs.progress import progress, say
from getam.photo_size import fit_patches
from getam.pipeline import Pipeline
from getam.pipeline_text import parse_pipeline
from getam.report.localise_table import LocaliseRow, markdown, rows_table
from getam.verbs.loading import load_and_say

RESULTS, PAGE = "localise.json", "localise.md"
THRESHOLD_RULE = "sorted ids dealt into two halves; the best threshold of each half scores the other one"


def localise(
    *,
    data: Path,
    model: Path | None = None,
    tags: Path | None = None,
    format: str | None = None,
    truth: Path | None = None,
    boxes: Path | None = None,
    classes: tuple[str, ...] | None = None,
    split: str | None = None,
    compare: tuple[str, ...] | None = None,
    size: int = 224,
    photos: int | None = None,
    out: Path = Path("localise"),
    device: str = "cpu",
    overwrite: bool = False,
) -> Path:
    """Score the boxes around what maps are high on: weakly supervised object localisation.

    Of the photos with exactly one tag of the classes. True boxes are those of a CSV, or go around the connected parts
    of the class in the true mask. No threshold is chosen on the boxes it is scored on. Called again with the same `out`
    and the same protocol, only rows that are not there yet are measured.

    Args:
        data: folder of photos, or a VOC folder.
        model: run folder or model file; the embedded model when left out.
        tags: what says which photo shows what, e.g. a CSV with the columns image,tags (tags joined by ;), or an export
            of COCO, VOC, Label Studio, CVAT or FiftyOne; when left out, tags.csv in `data`, what an export is called,
            or a folder of photos per class.
        format: how the tags are written; recognised when left out.
        truth: folder of true masks with classes.txt; SegmentationClass of a VOC folder when left out.
        boxes: CSV of true boxes, instead of those of the masks: image,x0,y0,x1,y1 and, if wanted, class; x1 and y1 are
            the first column and row beyond the box.
        classes: these classes, other tags do not count; all that the model knows when left out.
        split: only the ids listed in this split file.
        compare: rows METHOD[OPTION=VALUE,…][+REFINER…], such as bas, getam+pamr or acr[start=9]; every map method that
            fits the model when left out.
        size: long side in pixels of the photos the network sees, one pass, not mirrored.
        photos: only the first of the sorted ids, this many.
        out: folder for localise.json (protocol and all numbers) and localise.md (the tables).
        device: cpu, cuda, cuda:1 or mps.
        overwrite: measure everything anew.

    Returns:
        `out`.

    Raises:
        InputError: bad data; neither masks nor boxes; a row named in `compare` that cannot work; or results of another
            protocol in `out`.
        CaptureError: a row named in `compare` whose method cannot read the model.
    """
    if size < 1:
        raise InputError(f"--size {size} must be a positive number of pixels")
    net: Any = load_model(model, device=choose_device(device))
    collection = load_and_say(
        data, tags, format=format, classes=classes or net.classes, split=split, masks=truth
    )
    unknown = [name for name in collection.classes if name not in net.classes]
    if unknown:
        raise InputError(
            f"the model does not know the class {unknown[0]!r}: it knows {', '.join(net.classes)}"
        )
    subject = _subject(net, collection, size, Path(data), boxes and Path(boxes), photos)
    rows = _rows(net, compare, size)
    collection = subject.collection
    content = take_fingerprint(collection, masks=True).digests()
    protocol = {
        "photos": len(collection.samples), "split": collection.split, "ids_sha256": collection.split_hash(),
        "photos_sha256": content["photos"], "tags_sha256": content["tags"], "truth_sha256": content["masks"],
        "boxes_from": "masks" if boxes is None else "a CSV", "boxes_sha256": boxes and file_hash(Path(boxes)),
        "classes": list(collection.classes), "size": size, "flip": False, "threshold_rule": THRESHOLD_RULE,
        "intervals": asdict(DEFAULT),
        "weights_sha256": weights_hash(embedded_model() if model is None else Path(model)),
        "environment": {k: v for k, v in environment().items() if k != "started"},
    }  # fmt: skip
    results = KeptRows(
        Path(out) / RESULTS, protocol, lambda fields: LocaliseRow(**fields), verb="getam localise", overwrite=overwrite
    )  # fmt: skip
    todo = {name: row for name, row in rows.items() if name not in results.rows}
    for number, (name, pipeline) in enumerate(todo.items(), start=1):
        try:
            row = _measure(subject, name, pipeline, f"{name} ({number} of {len(todo)})")
        except GetamError as error:  # some needs show only on a photo
            results.misfits[name] = str(error)
        else:
            results.rows[name] = _compared(row, next(iter(results.rows.values()), None))
        results.write()
        page = markdown(protocol, list(results.rows.values()), results.misfits)
        write_atomically(Path(out) / PAGE, page.encode())
    if results.rows:
        print(rows_table(list(results.rows.values())), end="")
    return Path(out)


@dataclass(frozen=True)
class _Subject:
    """What every row is measured on: the network, photos of one tag (sorted by id), and their true boxes by name."""

    net: Any
    collection: Collection
    size: int
    boxes: Mapping[str, Boxes]


def _subject(
    net: Any, collection: Collection, size: int, data: Path, boxes: Path | None, photos: int | None
) -> _Subject:
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
    return _Subject(net, replace(collection, samples=kept), size, found)


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


def _measure(subject: _Subject, name: str, pipeline: Pipeline, what: str) -> LocaliseRow:
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
def _best_class(subject: _Subject, pixels: torch.Tensor) -> str:
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


def _rows(net: Any, compare: Sequence[str] | None, size: int) -> dict[str, Pipeline]:
    """Name → pipeline; those named by the user can work as far as is known."""
    rows: dict[str, Pipeline] = {}
    for text in REGISTRY if compare is None else compare:
        pipeline = parse_pipeline(text, scales=(size,), flip=False)
        if ":" in text:
            raise InputError(
                f"--compare {text}: boxes are made from maps, not from labels: leave out what follows the :"
            )
        if compare is not None:
            try:
                # a labeller that needs maps alone: the row has none of its own
                replace(pipeline, labels="free").check(saliency=False, net=net)
            except GetamError as error:
                raise type(error)(f"--compare {text}: {error}") from None
        rows[text] = pipeline
    if not rows:
        raise InputError(
            "--compare names no row: give METHOD[OPTION=VALUE,…][+REFINER…], or leave it out for all"
        )
    return rows


def _compared(row: LocaliseRow, first: LocaliseRow | None) -> LocaliseRow:
    """The row with its difference to the first one, on the same draws of photos."""
    if first is None:
        return row
    ours, theirs = (hit_counts(np.array([hit == "1" for hit in each.hits])) for each in (row, first))
    return replace(
        row,
        compared_to=first.name,
        difference=row.gt_known - first.gt_known,
        difference_interval=difference_interval(ours, theirs),
    )
