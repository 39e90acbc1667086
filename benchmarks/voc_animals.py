"""Measure one trained model on a VOC-layout split: what docs/results.md says of GETAM, as one JSON file.

    python benchmarks/voc_animals.py DATA --model RUN --out results.json [--parts maps,labels,single,multi,guided]

Maps are at a long side of 224, one pass, unless the name says otherwise. A map threshold is never chosen on the photos
it is scored on: the sorted ids are dealt into two halves, the best threshold of each half scores the other one.
Masks are scored on all photos, on those of voc_animals_tune.txt (choices are made on these) and on the others
(reported), each with a 95 % interval by bootstrap over photos.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from getam.attention.capture import capture, frozen
from getam.data.collection import Collection, load_collection, load_sample_mask
from getam.data.grey_maps import saliency_of
from getam.data.photos import as_tensor, read_photo
from getam.engine.model import load_model
from getam.engine.weights_hash import weights_hash
from getam.labels.completion import complete
from getam.labels.free import complete_without_saliency
from getam.labels.fusion import object_guided_refinement
from getam.maps.methods.getam import COUPLINGS, block_maps
from getam.maps.registry import find_method
from getam.metrics.bootstrap import interval
from getam.metrics.confusion import ConfusionMatrix, confusion_matrix, hits_and_unions, mean_iou
from getam.metrics.crossed import CrossFitted
from getam.nets.inference import photo_logits
from getam.nets.masks import decide, segment
from getam.outputs.progress import progress
from getam.photo_size import fit_patches
from getam.pipeline import LABEL_OPTIONS, LABEL_SCALES, PAMR_SCALE, SALIENT, Pipeline
from getam.refine.scaled import refine_maps, scale_to_peak

MULTI_SCALE = (192, 256, 320)
TUNE = Path(__file__).with_name(
    "voc_animals_tune.txt"
)  # ids of val whose sha256 sorts first: choices are made on them
FIXED_THRESHOLD = 0.3  # set before anything was measured


def summary(sweep: CrossFitted) -> dict[str, Any]:
    """The score at thresholds chosen on the other half of the photos, and at the fixed one."""
    found = sweep.compute()
    return {
        "miou": found.scores.miou,
        "thresholds": found.thresholds[::-1],  # the best of the first half, then of the second
        f"miou_at_{FIXED_THRESHOLD}": found.curve.at(FIXED_THRESHOLD).miou,
    }


def per_class(matrix: ConfusionMatrix, classes: tuple[str, ...]) -> dict[str, Any]:
    found = matrix.compute()
    return {"miou": found.miou, "iou": dict(zip(("background", *classes), map(float, found.iou)))}


def samples(collection: Collection) -> Any:
    order = sorted(collection.samples, key=lambda s: s.name)
    with progress("measuring", len(order)) as advance:
        for number, sample in enumerate(order):
            photo = as_tensor(read_photo(sample.photo))
            truth = load_sample_mask(sample, collection, (photo.shape[-2], photo.shape[-1]))
            yield number, sample, photo, truth, [collection.classes.index(t) for t in sample.tags]
            advance(number + 1)


def upsampled(maps: torch.Tensor, photo: torch.Tensor) -> Any:
    large = F.interpolate(scale_to_peak(maps), size=photo.shape[-2:], mode="bilinear", align_corners=True)
    return scale_to_peak(large)[0].clamp(0, 1).numpy()


def measure_maps(net: Any, collection: Collection) -> dict[str, Any]:
    """Raw maps by coupling and start block, and the comparison methods."""
    classes = len(collection.classes)
    sweeps: dict[str, CrossFitted] = {}
    for number, _sample, photo, truth, present in samples(collection):
        size = fit_patches(photo.shape[-2], photo.shape[-1], 224, net.patch)
        image = F.interpolate(photo.float()[None], size=size, mode="bilinear", antialias=True).clamp(0, 255)
        ids = [c + 1 for c in present]
        with frozen(net), capture(net, leaf_from=0) as tap:
            found = net(image, masks=False).scores
        slots = torch.tensor([present])
        for coupling in COUPLINGS:
            blocks = block_maps(tap, found, slots, net.geometry(*size), coupling=coupling, start=0)
            for start in range(len(blocks)):
                sweep = sweeps.setdefault(f"{coupling} from {start}", CrossFitted(classes))
                sweep.update(number, upsampled(blocks[start:].sum(0), photo), ids, truth)
        for method in ("gradcam", "rollout"):
            values = find_method(method).make(net, image, [present]).values
            sweeps.setdefault(method, CrossFitted(classes)).update(
                number, upsampled(values, photo), ids, truth
            )
    return {name: summary(sweep) for name, sweep in sweeps.items()}


LABELLINGS: dict[str, dict[str, Any]] = {
    "paper": {"scales": (224,), "flip": False, "coupling": "attn_grad2", "start": -1, "pamr_scale": 1.0},
    "one pass": {"scales": (224,), "flip": False, "pamr_scale": PAMR_SCALE, **LABEL_OPTIONS["getam"]},
    "getam label": {"scales": LABEL_SCALES, "flip": True, "pamr_scale": PAMR_SCALE, **LABEL_OPTIONS["getam"]},
}
"""How maps are made before completion; start −1 stands for half of the blocks."""


def measure_labels(net: Any, collection: Collection) -> dict[str, Any]:
    """Maps after PAMR, pseudo labels after completion with and without saliency."""
    classes = collection.classes
    half = sum(hasattr(m, "fused_attn") for m in net.modules()) // 2
    sweeps: dict[str, CrossFitted] = {}
    matrices: dict[str, ConfusionMatrix] = {}
    undecided: dict[str, list[float]] = {}
    for number, sample, photo, truth, present in samples(collection):
        image, slots, ids = photo.float()[None], torch.tensor([present]), [c + 1 for c in present]
        for name, options in LABELLINGS.items():
            start = half if options.get("start") == -1 else None
            own = {"coupling": options["coupling"], "start": start}
            raw = Pipeline(refine=(), scales=options["scales"], flip=options["flip"], options=own)
            maps = raw.maps(net, photo, present)
            refined = refine_maps(image, maps, scale=options["pamr_scale"])
            for stage, values in (("maps", upsampled(maps, photo)), ("PAMR", refined[0].clamp(0, 1).numpy())):
                sweep = sweeps.setdefault(f"{name}: {stage}", CrossFitted(len(classes)))
                sweep.update(number, values, ids, truth)
            labels = {f"{name}: without saliency": complete_without_saliency(refined, slots, image)[0]}
            if sample.saliency is not None:
                salient = saliency_of(sample, (photo.shape[-2], photo.shape[-1])) > SALIENT
                labels[f"{name}: with saliency"] = complete(refined, slots, salient[None])[0]
            for kind, label in labels.items():
                matrices.setdefault(kind, ConfusionMatrix(len(classes))).update(label.numpy(), truth)
                undecided.setdefault(kind, []).append(float((label == 255).float().mean()))
    result: dict[str, Any] = {name: summary(sweep) for name, sweep in sweeps.items()}
    for kind, matrix in matrices.items():
        result[kind] = {**per_class(matrix, classes), "undecided": float(np.mean(undecided[kind]))}
    return result


def measure_masks(
    net: Any, collection: Collection, scales: tuple[int, ...], *, flip: bool = False
) -> dict[str, Any]:
    """Segmentation without tags, with and without CRF; and told the tags, which says what the classes cost."""
    counts: dict[str, dict[str, Any]] = {"plain": {}, "CRF": {}, "told": {}}
    for _number, sample, photo, truth, present in samples(collection):
        logits = photo_logits(net, photo, scales, flip=flip)
        told = torch.full_like(logits, -torch.inf)
        rows = [0, *(c + 1 for c in present)]
        told[rows] = logits[rows]
        found = {
            "plain": decide(logits, photo),
            "CRF": decide(logits, photo, crf=True),
            "told": decide(told, photo),
        }
        for name, label in found.items():
            matrix = confusion_matrix(label.numpy(), truth, len(collection.classes))
            counts[name][sample.name] = hits_and_unions(matrix)
    return {name: by_part(its, collection.classes) for name, its in counts.items()}


def parts(names: list[str]) -> dict[str, list[str]]:
    """All photos, those that choices are made on, those that are reported; parts without a photo are left out."""
    tune = set(TUNE.read_text().split())
    found = {
        "all": names,
        "tune": [n for n in names if n in tune],
        "report": [n for n in names if n not in tune],
    }
    return {part: its for part, its in found.items() if its}


def by_part(counts: dict[str, Any], classes: tuple[str, ...]) -> dict[str, Any]:
    """Scores of all photos, of those choices are made on, of those that are reported; and each photo's counts."""
    result: dict[str, Any] = {}
    for part, names in parts(list(counts)).items():
        chosen = np.stack([counts[name] for name in names])
        hits, unions = chosen.sum(0)
        result[part] = {
            "photos": len(names), "miou": float(mean_iou(chosen.sum(0))), "interval": interval(chosen),
            "iou": dict(zip(("background", *classes), (float(h / u) if u else None for h, u in zip(hits, unions)))),
        }  # fmt: skip
    return {**result, "hits and unions": {name: its.tolist() for name, its in counts.items()}}


def measure_guided(net: Any, collection: Collection) -> dict[str, Any]:
    """Object-guided refinement: the network's own masks (made without tags), repaired by tags and pseudo labels."""
    matrices: dict[str, ConfusionMatrix] = {}
    for _number, sample, photo, truth, present in samples(collection):
        size = (photo.shape[-2], photo.shape[-1])
        salient = None if sample.saliency is None else saliency_of(sample, size)
        initial = Pipeline().label(net, photo, present, salient)
        predicted = torch.from_numpy(segment(net, photo, crf=True))
        guided = object_guided_refinement(predicted[None], initial[None], torch.tensor([present]))[0]
        for name, label in (("labels", initial), ("masks", predicted), ("guided", guided)):
            matrix = matrices.setdefault(name, ConfusionMatrix(len(collection.classes)))
            matrix.update(label.numpy(), truth)
    return {name: per_class(matrix, collection.classes) for name, matrix in matrices.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--saliency", type=Path)
    parser.add_argument("--parts", default="maps,labels,single,multi")
    parser.add_argument("--long-side", type=int, help="of `single`, pixels; the model's own when left out")
    parser.add_argument("--photos", type=int, help="only the first of the sorted ids, this many")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    net: Any = load_model(options.model)
    side: Any = options.long_side or getattr(net, "side", None)  # a classifier has none
    collection = load_collection(
        options.data, classes=net.classes, split=options.split, saliency=options.saliency
    )
    chosen = sorted(collection.samples, key=lambda sample: sample.name)[: options.photos]
    collection = replace(collection, samples=tuple(chosen))
    known: dict[str, Callable[[Any, Collection], dict[str, Any]]] = {
        "maps": measure_maps,
        "labels": measure_labels,
        "single": partial(measure_masks, scales=(side,)),
        "multi": partial(measure_masks, scales=MULTI_SCALE, flip=True),
        "guided": measure_guided,
    }
    protocol = {
        "photos": len(collection.samples), "split": options.split, "split_sha256": collection.split_hash(),
        "classes": list(net.classes), "weights_sha256": weights_hash(options.model), "multi_scale": MULTI_SCALE,
        "single_scale": (side,), "label_scales": LABEL_SCALES, "fixed_threshold": FIXED_THRESHOLD,
    }  # fmt: skip
    result: dict[str, Any] = {"protocol": protocol}
    for name in options.parts.split(","):
        result[name] = known[name](net, collection)
        options.out.write_text(json.dumps(result, indent=1))  # kept after every part


if __name__ == "__main__":
    main()
