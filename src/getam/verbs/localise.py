"""`getam localise`: the box a map puts around its object, of any map method, scored as WSOL is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from getam.data.fingerprint import file_hash, take_fingerprint
from getam.engine.device import choose_device
from getam.engine.environment import environment
from getam.engine.model import load_model
from getam.engine.weights_hash import weights_hash
from getam.errors import GetamError, InputError
from getam.maps.registry import REGISTRY
from getam.metrics.bootstrap import DEFAULT, difference_interval
from getam.metrics.localisation import hit_counts
from getam.nets.embedded import embedded_model
from getam.outputs.kept_rows import KeptRows
from getam.outputs.shards import hold, over_processes, read_shard
from getam.pipeline import Pipeline
from getam.pipeline_text import parse_pipeline
from getam.report.localise_table import LocaliseRow, markdown, rows_table
from getam.verbs.from_python import from_python
from getam.verbs.loading import load_and_say
from getam.verbs.localise_row import choose_photos, measure_row

RESULTS = "localise.json"
THRESHOLD_RULE = "sorted ids dealt into two halves; the best threshold of each half scores the other one"


@from_python
@over_processes
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
    shard: str | None = None,
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
        shard: only this process's part of the rows, such as 3/16, the third of 16 (docs/reliability.md); the same
            command without it then does what is left and writes the tables.
        overwrite: measure everything anew.

    Returns:
        `out`.

    Raises:
        InputError: bad data; neither masks nor boxes; a row named in `compare` that cannot work; or results of another
            protocol in `out`.
        CaptureError: a row named in `compare` whose method cannot read the model.
    """
    part = read_shard(shard)
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
    subject = choose_photos(net, collection, size, data, boxes, photos)
    rows = _rows(net, compare, size)
    collection = subject.collection
    content = take_fingerprint(collection, masks=True).digests()
    protocol = {
        "photos": len(collection.samples), "split": collection.split, "ids_sha256": collection.split_hash(),
        "photos_sha256": content["photos"], "tags_sha256": content["tags"], "truth_sha256": content["masks"],
        "boxes_from": "masks" if boxes is None else "a CSV", "boxes_sha256": boxes and file_hash(boxes),
        "classes": list(collection.classes), "size": size, "flip": False, "threshold_rule": THRESHOLD_RULE,
        "intervals": asdict(DEFAULT),
        "weights_sha256": weights_hash(embedded_model() if model is None else model),
        "environment": {k: v for k, v in environment().items() if k != "started"},
    }  # fmt: skip
    with hold(out, part):
        results = _Results(
            out / RESULTS, protocol, lambda fields: LocaliseRow(**fields), verb="getam localise",
            overwrite=overwrite, shard=part,
        )  # fmt: skip
        results.fill(list(rows), lambda name, what: measure_row(subject, name, rows[name], what))
    if part is None and results.rows:
        print(rows_table(list(results.rows.values())), end="")
    return out


class _Results(KeptRows[LocaliseRow]):
    """What is in the folder, and what comes to it row by row."""

    def compared(self, row: LocaliseRow, first: LocaliseRow) -> LocaliseRow:
        """With the difference of GT-known, and its interval, on the same draws of photos."""
        ours, theirs = (hit_counts(np.array([hit == "1" for hit in each.hits])) for each in (row, first))
        return replace(
            row, compared_to=first.name, difference=row.gt_known - first.gt_known,
            difference_interval=difference_interval(ours, theirs),
        )  # fmt: skip

    def page(self) -> str:
        """`localise.md`."""
        return markdown(self.protocol, list(self.rows.values()), self.misfits)


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
