"""A joint training step against a fully supervised one of the same network, and against the paper's procedure naively.

Everything of a step counts: forward, maps, refinement, pseudo labels, losses, backward, optimiser.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from clock import ratio, rounds, spread
from reference_loop import kept_attention, loop_maps
from rows import Row
from scene import Scale, crops
from torch import Tensor

from getam.labels.completion import complete
from getam.losses.classification import classification_loss
from getam.losses.cross_entropy import foreground_background_loss
from getam.losses.dense_energy import dense_energy
from getam.losses.saliency import saliency_loss
from getam.nets.segmenter import Segmenter
from getam.recipes.base import Config, optimizer, total
from getam.recipes.getam import PRESETS, GetamConfig, GetamRecipe
from getam.recipes.supervised import SupervisedRecipe
from getam.refine.neighbours import DILATIONS
from getam.refine.pamr import ITERATIONS, SIGMA_EPSILON, SIGMA_SCALE, normalise_maps

TAGS = ((0, 14), (7, 11), (3,), (18,))  # 6 tags on 4 photos
CLASSES = 20
SUPERVISED_BAR, NAIVE_BAR = 1.35, 4.0
JOINT = 0.9  # share of the steps done: well into the joint phase


def measure(scale: Scale) -> list[Row]:
    """Rows against a supervised step: with saliency maps, as in the paper, and without."""
    config, batch = configuration(scale), training_batch(scale.side)
    no_saliency = {key: value for key, value in batch.items() if key != "saliency"}
    steps = {
        "supervised": step(SupervisedRecipe(), network(config), batch, config),
        "joint": step(GetamRecipe(), network(config), batch, config),
        "joint without saliency": step(GetamRecipe(), network(config), no_saliency, config),
    }
    seconds = rounds(steps, scale.repeats)
    what = f"{{}} step, {scale.backbone} + DPT at {scale.side}², batch 4, 6 tags, against a supervised step"
    return [
        Row("step", what.format(name), ratio(seconds, name, "supervised"),
            bar=SUPERVISED_BAR if name == "joint" else None, detail=spread(seconds, name, "supervised"))
        for name in ("joint", "joint without saliency")
    ]  # fmt: skip


def measure_naive(scale: Scale) -> list[Row]:
    """The row against the paper's procedure written naively."""
    config, batch = configuration(scale), training_batch(scale.side)
    net = network(config)
    steps = {"joint": step(GetamRecipe(), net, batch, config), "naive": naive_step(net, batch, config)}
    seconds = rounds(steps, scale.repeats)
    what = "the paper's procedure written naively (a backward per photo and tag, PAMR on 20 channels, second forward), "
    return [Row("naive", what + "as many times slower than the joint step", ratio(seconds, "naive", "joint"),
                bar=NAIVE_BAR, at_least=True, detail=spread(seconds, "naive", "joint"))]  # fmt: skip


def configuration(scale: Scale) -> GetamConfig:
    """The paper's VOC preset on a plain ViT with random weights."""
    own = {"backbone": scale.backbone, "weights": "", "size": scale.side, "channels": scale.channels,
           "width": scale.width}  # fmt: skip
    return GetamConfig(**{**PRESETS["paper-voc"], **own})


def network(config: Config, classes: int = CLASSES) -> Segmenter:
    """As `engine.loop` prepares it."""
    torch.manual_seed(0)
    net = config.build([f"class{c}" for c in range(classes)])
    return net.to(memory_format=torch.channels_last).train()


def training_batch(side: int) -> dict[str, Tensor]:
    """Four photos with tags, masks and saliency of rectangles."""
    tags, mask = torch.zeros(4, CLASSES), torch.zeros(4, side, side, dtype=torch.uint8)
    for photo, row in enumerate(TAGS):
        for place, c in enumerate(row):
            tags[photo, c] = 1
            left = side // 8 + place * side // 2
            mask[photo, side // 4 : 3 * side // 4, left : left + side // 3] = c + 1
    return {"image": crops(side), "tags": tags, "mask": mask, "saliency": (mask > 0).float(),
            "roi": torch.ones(4, side, side, dtype=torch.bool)}  # fmt: skip


def step(recipe: Any, net: Segmenter, batch: Mapping[str, Tensor], config: Config) -> Callable[[], None]:
    """One step of a recipe as the engine takes it."""
    optim = optimizer(net, config)

    def run() -> None:
        total(recipe.losses(net, batch, JOINT, config).values()).backward()
        optim.step()
        optim.zero_grad(set_to_none=True)

    return run


def naive_step(net: Segmenter, batch: Mapping[str, Tensor], config: GetamConfig) -> Callable[[], None]:
    """The same step as the paper's sections read, without a thought for cost."""
    optim = optimizer(net, config)
    images, tags = batch["image"], batch["tags"]
    height, width = net.geometry(*images.shape[-2:]).grid

    def run() -> None:
        with kept_attention(net) as kept:
            scores = net(images).scores
            found = loop_maps(net, kept, scores, TAGS)
        maps = images.new_zeros(4, CLASSES, height, width)
        for photo, row in enumerate(TAGS):
            maps[photo, list(row)] = found[photo].unflatten(-1, (height, width))
        refined = normalise_maps(naive_pamr(images, maps)) * tags[:, :, None, None]
        slots = torch.arange(CLASSES).repeat(4, 1).masked_fill(tags == 0, -1)
        label = complete(refined, slots, batch["saliency"] > 0.5)
        scores, logits = net(images)
        foreground, background = foreground_background_loss(logits, label)
        energy = dense_energy(logits.softmax(1), images, label, batch["roi"], weight=config.dense_weight)
        salient = config.saliency_weight * saliency_loss(logits, batch["saliency"], batch["roi"])
        (classification_loss(scores, tags) + foreground + background + energy + salient).backward()
        optim.step()
        optim.zero_grad(set_to_none=True)

    return run


@torch.no_grad()
def naive_pamr(images: Tensor, maps: Tensor) -> Tensor:
    """PAMR by unfolding: every pixel's 48 neighbours are copied out, for the photo once, for the maps 10 times."""
    maps = F.interpolate(maps, size=images.shape[-2:], mode="bilinear", align_corners=True)
    around = windows(images)  # (B,3,D·9,H,W)
    sigma = around.std(2, keepdim=True)
    centre = images[:, :, None]
    neighbours = [i for i in range(9 * len(DILATIONS)) if i % 9 != 4]
    contrast = (around[:, :, neighbours] - centre).abs() / (SIGMA_EPSILON + SIGMA_SCALE * sigma)
    weights = (-contrast).mean(1, keepdim=True).softmax(2)  # (B,1,48,H,W)
    for _ in range(ITERATIONS):
        maps = (windows(maps)[:, :, neighbours] * weights).sum(2)
    return maps


def windows(planes: Tensor) -> Tensor:
    """(B,K,H,W) → (B,K,9·dilations,H,W): the 3×3 windows of all dilations, borders replicated."""
    found = []
    for dilation in DILATIONS:
        padded = F.pad(planes, (dilation,) * 4, mode="replicate")
        unfolded = F.unfold(padded, 3, dilation=dilation)
        found.append(unfolded.unflatten(1, (planes.shape[1], 9)).unflatten(-1, planes.shape[-2:]))
    return torch.cat(found, 2)
