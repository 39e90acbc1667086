"""AFA, end to end (arXiv 2203.02664): class activation maps → PAR → pseudo labels, from which the decoder and an
affinity of patches learn; later the maps walk along that affinity before they become the decoder's labels.

A step after the warm-up first reads maps (and affinity) without a graph, at several scales and mirrored, in eval mode;
then one forward in train mode gives scores, pixel logits and affinity to the losses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor, nn

from getam.label_numbers import ignore_label
from getam.labels.deep import label_among, torch_label_dtype
from getam.labels.double_threshold import AFA_HIGH, AFA_LOW, afa_label, afa_walked_label
from getam.losses.affinity import RADIUS, affinity_labels, affinity_loss
from getam.losses.classification import classification_loss
from getam.losses.cross_entropy import foreground_background_loss
from getam.maps.base import class_slots
from getam.maps.methods.multi_layer import min_max
from getam.nets.affinity import AffinitySegmenter
from getam.nets.network import evaluating
from getam.nets.segmenter import Segmenter
from getam.recipes.base import Config, unwrap

WEIGHT = 0.1  # arXiv 2203.02664: of L_seg, and of L_aff
SCALES = (1.0, 0.5, 1.5)  # arXiv 2203.02664: of the photo, for maps
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


class AFAConfig(Config):
    """Options of the AFA recipe beside the common ones."""

    network: ClassVar[type[Segmenter]] = AffinitySegmenter
    joint_from: float = Field(default=0.4, ge=0, le=1)  # share of the steps that is classification only
    walked_from: float = Field(
        default=0.6, ge=0, le=1
    )  # then labels of the decoder follow the learned affinity
    scales: tuple[PositiveFloat, ...] = Field(
        default=SCALES, min_length=1
    )  # of the maps; affinity: the largest
    high: float = Field(
        default=AFA_HIGH, ge=0, le=1
    )  # background constants of the two labels that must agree
    low: float = Field(default=AFA_LOW, ge=0, le=1)
    radius: int = Field(default=RADIUS, ge=0)  # in patches: further pairs have no part in L_aff
    seg_weight: float = Field(default=WEIGHT, ge=0)
    aff_weight: float = Field(default=WEIGHT, ge=0)
    frozen_norms: bool = False  # norms of the pretrained backbone keep their weights (the reference's rate 0)

    @model_validator(mode="after")
    def _levels_and_phases(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        if self.walked_from < self.joint_from:
            raise ValueError(
                f"walked_from {self.walked_from} is before joint_from {self.joint_from}, when nothing has been learned "
                "of affinities"
            )
        return self

    def build(self, classes: Sequence[str]) -> Segmenter:
        """The network; errors as of every joint network, and of a backbone without queries and keys."""
        net = super().build(classes)
        if self.frozen_norms:
            for module in net.encoder.backbone.modules():
                if isinstance(module, NORMS):
                    module.requires_grad_(False)
        return net


# 2 crops on each of an unnamed number of GPUs: 4 of them assumed. MiT-B1 is not for every use (licence), and its
# attention has no one patch grid: DeiT-S in its place.
PAPER: dict[str, Any] = {
    "backbone": "deit_small_patch16_224", "size": 320, "zoom": (0.5, 2.0), "batch_size": 8,
    "channels": (48, 96, 192, 384), "width": 256, "lr": 6e-4, "pretrained_lr": 6e-5, "weight_decay": 0.01,
    "poly_power": 1.0, "frozen_norms": True,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "light": {},
    "paper-voc": {
        **PAPER, "steps": 20_000, "warmup": 1500 / 20_000, "joint_from": 2000 / 20_000, "walked_from": 6000 / 20_000,
    },
    "paper-coco": {
        **PAPER, "steps": 80_000, "warmup": 1500 / 80_000, "joint_from": 5000 / 80_000, "walked_from": 6000 / 80_000,
    },
}  # fmt: skip


class AFARecipe:
    """Tags in; a segmenter out, and an affinity of patches that `--refine walk-afa` follows."""

    name = "afa"
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    labelled_by = "getam+walk-afa+par:afa"
    config_type = AFAConfig
    presets = PRESETS

    def losses(
        self, net: nn.Module, batch: Mapping[str, Tensor], progress: float, config: AFAConfig
    ) -> dict[str, Tensor]:
        """L_cls alone, then L_cls + 0.1 L_seg + 0.1 L_aff."""
        images, tags, known = batch["image"], batch["tags"], batch.get("known")
        if progress < config.joint_from:
            scores, _ = net(images, masks=False)
            return {"cls": classification_loss(scores, tags, known)}
        label, target = pseudo_labels(unwrap(net), batch, config, walked=progress >= config.walked_from)
        scores, logits, affinity = net(images, affinity=True)
        grid = unwrap(net).geometry(*images.shape[-2:]).grid
        pairs = affinity_labels(label, grid, radius=config.radius, ignore=ignore_label(tags.shape[1]))
        foreground, background = foreground_background_loss(logits, target, known)
        return {
            "cls": classification_loss(scores, tags, known),
            "seg": config.seg_weight * (foreground + background) / 2,
            "aff": config.aff_weight * affinity_loss(affinity, pairs),
        }


@torch.no_grad()
def pseudo_labels(
    net: AffinitySegmenter, batch: Mapping[str, Tensor], config: AFAConfig, *, walked: bool
) -> tuple[Tensor, Tensor]:
    """What the affinity learns from, Y_p, and what the decoder does: Y_p too, or Y_a after a step along the affinity.

    Both are (B,H,W): 0 background, class index + 1, undecided or outside the photo `ignore_label` of the class list;
    uint8, or int32 beyond 254 classes.
    """
    images, outside, count = batch["image"], ~batch["roi"], len(net.classes)
    ignore = ignore_label(count)
    slots, _ = class_slots(batch["tags"], len(images), count, images.device)
    if not slots.numel():  # no photo has a tag: background, all of it
        label = outside * torch.tensor(ignore, dtype=torch_label_dtype(count), device=images.device)
        return label, label
    with evaluating(net):
        maps, affinity, grid = maps_and_affinity(net, images, slots, config.scales)

    def plain(own: Tensor) -> Tensor:
        return afa_label(maps, own, images, high=config.high, low=config.low)

    def along(own: Tensor) -> Tensor:
        return afa_walked_label(maps, own, images, affinity, grid, high=config.high, low=config.low)

    label = label_among(count, slots, plain).masked_fill(outside, ignore)
    return label, label_among(count, slots, along).masked_fill(outside, ignore) if walked else label


@torch.no_grad()
def maps_and_affinity(
    net: AffinitySegmenter, images: Tensor, slots: Tensor, scales: Sequence[float]
) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Class activation maps of AFA: per scale the larger of photo and mirrored photo, ReLU; their sum, min–max.

    Args:
        net: in eval mode.
        images: (B,3,H,W) in 0–255.
        slots: (B,K) class indices, −1 for none.
        scales: of the photo's sides, which are brought to multiples of the patch.

    Returns:
        maps (B,K,H,W) float32 in [0,1], zero where a slot has no class; affinity (B,N,N) of the photo at its largest
        scale, as it stands; and the grid (h,w) of its patches, N = h·w.
    """
    size = images.shape[-2:]
    large = _scaled(images, max(scales), net.patch)
    largest, affinity = net.activations_and_affinity(large)
    total = images.new_zeros(*slots.shape, *size)
    for scale in scales:
        resized = _scaled(images, scale, net.patch)
        found = largest if scale == max(scales) else net.activations(resized)
        found = torch.maximum(found, net.activations(resized.flip(-1)).flip(-1))
        places = slots.clamp(min=0)[..., None, None].expand(-1, -1, *found.shape[2:])
        chosen = found.float().gather(1, places).relu()
        total += F.interpolate(chosen, size=size, mode="bilinear", align_corners=False)
    maps = min_max(total) * (slots >= 0)[..., None, None]
    return maps, affinity, net.geometry(*large.shape[-2:]).grid


def _scaled(images: Tensor, scale: float, patch: int) -> Tensor:
    """Photos (B,3,H,W) with sides `scale` times theirs, in multiples of the patch."""
    size = [max(patch, round(side * scale / patch) * patch) for side in images.shape[-2:]]
    if tuple(size) == tuple(images.shape[-2:]):
        return images
    return F.interpolate(images, size=size, mode="bilinear", antialias=True)
