"""Scores of the demo: maps of three methods, pseudo labels and masks of one network, against the masks of its scenes.

Thresholds are chosen on training scenes and applied to held-out ones; tags are given to maps and pseudo labels, as in
all work on image tags, and to nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from getam.labels.free import OPENING, complete_without_saliency
from getam.maps.base import class_slots
from getam.maps.registry import REGISTRY
from getam.metrics.confusion import ConfusionMatrix
from getam.metrics.thresholds import ThresholdSweep
from getam.nets.masks import decide
from getam.nets.segmenter import Segmenter
from getam.outputs.progress import Advance
from getam.recipes.getam import GetamConfig
from getam.refine.scaled import refine_maps
from getam.verbs.demo.digit_bank import Split
from getam.verbs.demo.digits import DigitScenes

BATCH = 32
METHODS = {name: REGISTRY[name].make for name in ("getam", "gradcam", "rollout")}  # those the demo compares


@dataclass(frozen=True)
class MethodScores:
    """What one map method reaches on the held-out scenes, given their tags; mIoU over background and ten digits."""

    raw_threshold: float
    """Best on the training scenes, for the enlarged maps."""
    raw_miou: float
    refined_threshold: float
    """Best on the training scenes, for the maps after PAMR."""
    refined_miou: float
    label_thresholds: tuple[float, float]
    """(background, foreground): below and above these a pixel of a pseudo label is decided."""
    label_miou: float
    """Of the pseudo labels; an undecided pixel counts as missed."""
    label_decided: float
    """Share of pixels that are decided."""


@dataclass(frozen=True)
class DemoScores:
    """Everything the demo measures on its held-out scenes."""

    methods: dict[str, MethodScores]
    segmentation_miou: float
    """Of the network's own masks; no tags are given."""
    crf_miou: float
    """Of the same after the dense CRF of `getam predict`, with the same parameters."""
    tag_accuracy: float
    """Share of the decisions "this digit occurs" that are right."""
    exact_tags: float
    """Share of the scenes with all ten decisions right."""


@dataclass(frozen=True)
class SceneMaps:
    """Maps of one batch of scenes.

    Args:
        batch: `image` (B,3,S,S), `tags` (B,10) and `mask` (B,S,S).
        slots: (B,K) int64 digit per slot, −1 for none.
        raw, refined: method → (B,K,S,S) float32 in [0,1], enlarged only and after PAMR.
    """

    batch: dict[str, Tensor]
    slots: Tensor
    raw: dict[str, Tensor]
    refined: dict[str, Tensor]


def score(
    net: Segmenter,
    config: GetamConfig,
    *,
    seed: int,
    held_out: int,
    tuning: int,
    advance: Advance = lambda done, note="": None,
) -> DemoScores:
    """Scores of a network trained on digit scenes.

    Args:
        net: in eval mode.
        config: it was trained with; gives the options of the maps and the pseudo labels.
        seed: of the scenes.
        held_out: number of scenes of other writers' digits on other textures, which are scored.
        tuning: number of training scenes the thresholds are chosen on.
        advance: called with the number of scenes done, `held_out + tuning` at the end.
    """
    raw_best, refined_best = _thresholds(net, config, scene_batches("train", config, seed, tuning), advance)
    bands = {name: (refined_best[name], refined_best[name]) for name in METHODS}
    bands["getam"] = (config.background, config.foreground)  # the pseudo labels the network was trained with
    classes = len(net.classes)
    sweeps = {
        (name, kind): ThresholdSweep(classes, [best[name]])
        for kind, best in (("raw", raw_best), ("refined", refined_best))
        for name in METHODS
    }
    labels = {name: ConfusionMatrix(classes) for name in METHODS}
    masks, sharpened = ConfusionMatrix(classes), ConfusionMatrix(classes)
    decided, right, exact = dict.fromkeys(METHODS, 0), 0, 0
    done = tuning
    for found in scene_maps(net, config, scene_batches("test", config, seed, held_out)):
        truth = found.batch["mask"].cpu().numpy()
        for name in METHODS:
            _sweep(sweeps[name, "raw"], found.raw[name], found.slots, truth)
            _sweep(sweeps[name, "refined"], found.refined[name], found.slots, truth)
            label = complete(found, name, bands[name], config).cpu().numpy()
            labels[name].update(label, truth)
            decided[name] += int((label != 255).sum())
        scores, plain, sharp = segment_scenes(net, found.batch["image"])
        masks.update(plain.cpu().numpy(), truth)
        sharpened.update(sharp.cpu().numpy(), truth)
        correct = (scores > 0) == (found.batch["tags"] > 0)
        right, exact = right + int(correct.sum()), exact + int(correct.all(1).sum())
        done += len(truth)
        advance(done)
    pixels = held_out * config.size**2
    methods = {
        name: MethodScores(
            raw_threshold=raw_best[name],
            raw_miou=sweeps[name, "raw"].compute().best[1].miou,
            refined_threshold=refined_best[name],
            refined_miou=sweeps[name, "refined"].compute().best[1].miou,
            label_thresholds=bands[name],
            label_miou=labels[name].compute().miou,
            label_decided=decided[name] / pixels,
        )
        for name in METHODS
    }
    return DemoScores(
        methods,
        segmentation_miou=masks.compute().miou,
        crf_miou=sharpened.compute().miou,
        tag_accuracy=right / (held_out * classes),
        exact_tags=exact / held_out,
    )


def scene_batches(split: Split, config: GetamConfig, seed: int, count: int) -> Iterator[dict[str, Tensor]]:
    """Batches of `count` scenes with their masks: of "test" the first ones, of "train" some that no step has shown."""
    source = DigitScenes(split, config.size, seed, with_masks=True)
    first = (
        0 if split == "test" else config.steps * config.batch_size + len(source)
    )  # an epoch may be half used
    for start in range(0, count, BATCH):
        scenes = [source.scene(first + index) for index in range(start, min(start + BATCH, count))]
        items = [
            {
                "image": torch.from_numpy(scene.image).float(),
                "tags": torch.from_numpy(scene.tags),
                "mask": torch.from_numpy(scene.mask).long(),
            }
            for scene in scenes
        ]
        yield {key: torch.stack([item[key] for item in items]) for key in items[0]}


def scene_maps(
    net: Segmenter, config: GetamConfig, batches: Iterator[dict[str, Tensor]]
) -> Iterator[SceneMaps]:
    """Maps of the present digits by every method."""
    device = next(net.parameters()).device
    for batch in batches:
        batch = {key: value.to(device) for key, value in batch.items()}
        images, tags = batch["image"], batch["tags"]
        slots, _ = class_slots(tags, len(tags), len(net.classes), device)
        options = {"getam": {"coupling": config.coupling, "start": config.start}}
        values = [
            method(net, images, tags, **options.get(name, {})).values for name, method in METHODS.items()
        ]
        stacked = torch.cat(values, 1)  # PAMR weighs the neighbours once for all maps of a scene
        raw = refine_maps(images, stacked, iterations=0)
        refined = refine_maps(images, stacked, scale=config.pamr_scale, iterations=config.pamr_iterations)
        count = slots.shape[1]
        yield SceneMaps(
            batch,
            slots,
            dict(zip(METHODS, raw.split(count, 1))),
            dict(zip(METHODS, refined.split(count, 1))),
        )


def complete(found: SceneMaps, method: str, thresholds: tuple[float, float], config: GetamConfig) -> Tensor:
    """Pseudo labels (B,S,S) uint8 of a batch by one method; `thresholds` are (background, foreground)."""
    background, foreground = thresholds
    return complete_without_saliency(
        found.refined[method],
        found.slots,
        found.batch["image"],
        foreground=foreground,
        background=background,
        iterations=config.crf_iterations,
        opening=OPENING if config.opening is None else config.opening,
    )


@torch.no_grad()
def segment_scenes(net: Segmenter, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scenes (B,3,S,S) → class scores (B,10), masks (B,S,S) uint8, and those after a dense CRF; no tags are given."""
    scores, logits = net(images)
    assert logits is not None
    plain, sharp = (
        torch.stack([decide(own, image, crf=crf) for own, image in zip(logits, images)])
        for crf in (False, True)
    )
    return scores, plain, sharp


def _thresholds(
    net: Segmenter, config: GetamConfig, batches: Iterator[dict[str, Tensor]], advance: Advance
) -> tuple[dict[str, float], dict[str, float]]:
    """Best thresholds by method, of the raw and of the refined maps."""
    raw = {name: ThresholdSweep(len(net.classes)) for name in METHODS}
    refined = {name: ThresholdSweep(len(net.classes)) for name in METHODS}
    done = 0
    for found in scene_maps(net, config, batches):
        truth = found.batch["mask"].cpu().numpy()
        for name in METHODS:
            _sweep(raw[name], found.raw[name], found.slots, truth)
            _sweep(refined[name], found.refined[name], found.slots, truth)
        done += len(truth)
        advance(done)
    best = [{name: sweep.compute().best[0] for name, sweep in each.items()} for each in (raw, refined)]
    return best[0], best[1]


def _sweep(sweep: ThresholdSweep, maps: Tensor, slots: Tensor, truth: np.ndarray) -> None:
    for its_maps, its_slots, mask in zip(maps.cpu().numpy(), slots.cpu().numpy(), truth):
        present = its_slots >= 0
        sweep.update(its_maps[present], (its_slots[present] + 1).tolist(), mask)
