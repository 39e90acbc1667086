"""GETAM, end to end: classification first, then pseudo labels and joint losses from one forward (arXiv 2112.02841).

A joint step has two first-order backward passes: (1) class scores → attention gradients → maps → PAMR → completion →
pseudo labels, all detached; (2) the joint loss → parameters, through the graph of the same forward.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from getam.attention.capture import capture
from getam.label_numbers import ignore_label
from getam.labels.completion import COCO_QUANTILE, COMPLETION_QUANTILE, OPENING, complete
from getam.labels.deep import label_among
from getam.labels.free import BACKGROUND, CRF_ITERATIONS, FOREGROUND, complete_without_saliency
from getam.labels.free import OPENING as FREE_OPENING
from getam.losses.classification import classification_loss
from getam.losses.cross_entropy import foreground_background_loss
from getam.losses.dense_energy import dense_energy
from getam.losses.saliency import saliency_loss
from getam.maps.base import class_slots
from getam.maps.methods.getam import attribute
from getam.recipes.base import Config, unwrap
from getam.refine.scaled import refine_maps

SALIENT = 0.5  # saliency maps are in [0,1]; above this is salient (half of the range, not tuned)


class GetamConfig(Config):
    """Options of the GETAM recipe beside the common ones."""

    joint_from: float = Field(default=0.4, ge=0, le=1)  # share of the steps that is classification only
    joint_lr_factor: float = Field(default=1.0, gt=0)  # learning rate of the joint phase
    coupling: str = (
        "attn_grad"  # flatter than the paper's attn_grad2, and better to complete (docs/results.md)
    )
    start: int | None = None  # first block of the maps; None: as the encoder says
    pamr_scale: float = Field(default=0.5, gt=0, le=1)  # PAMR runs on photos of this scale
    pamr_iterations: int = Field(default=10, ge=0)
    quantile: float = Field(default=COMPLETION_QUANTILE, gt=0, lt=1)
    foreground: float = Field(
        default=FOREGROUND, ge=0, le=1
    )  # without saliency: maps above this are the class
    background: float = Field(
        default=BACKGROUND, ge=0, le=1
    )  # without saliency: maps below this are background
    crf_iterations: int = Field(default=CRF_ITERATIONS, ge=0)  # without saliency; 0: thresholds alone
    opening: int | None = Field(
        default=None, ge=0
    )  # side of the box specks must hold; None: the completion's own
    dense_weight: float = Field(default=1e-7, ge=0)
    saliency_weight: float = Field(default=0.0, ge=0)

    def lr_factor(self, progress: float) -> float:
        """Warm-up, poly, and the factor of the joint phase."""
        joint = self.joint_lr_factor if progress >= self.joint_from else 1.0
        return joint * super().lr_factor(progress)


# §5, §6: SGD 0.04 without momentum, poly 0.9, batch 4, crop 256, 20 epochs of 10,582 photos
PAPER_VOC: dict[str, Any] = {
    "backbone": "vit_base_r50_s16_384", "size": 256, "batch_size": 4, "steps": 52_910,
    "channels": (256, 512, 768, 768), "width": 256, "enlarge": 2, "optimizer": "sgd", "lr": 0.04,
    "pretrained_lr": 0.04, "weight_decay": 5e-4, "momentum": 0.0, "warmup": 0.0, "poly_power": 0.9,
    "joint_from": 0.5, "joint_lr_factor": 0.1, "coupling": "attn_grad2", "pamr_scale": 1.0,
    "saliency_weight": 1.0,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "light": {},
    "paper-voc": PAPER_VOC,
    # Of COCO we have the quantile and the result (36.4) only. All else is VOC's, also the number of steps.
    "paper-coco": {**PAPER_VOC, "quantile": COCO_QUANTILE},
}


def pseudo_labels(
    net: nn.Module, tap: Any, scores: Tensor, batch: Mapping[str, Tensor], config: GetamConfig
) -> Tensor:
    """Maps of the present tags → PAMR → completion: (B,H,W), undecided outside the photo; not in the graph."""
    images, tags, roi = batch["image"], batch["tags"], batch["roi"]
    slots, _ = class_slots(tags, tags.shape[0], tags.shape[1], scores.device)
    place = unwrap(net).geometry(*images.shape[-2:])
    values = attribute(tap, scores, slots, place, coupling=config.coupling, start=config.start)
    with torch.no_grad():
        maps = refine_maps(images, values, scale=config.pamr_scale, iterations=config.pamr_iterations)
        if "saliency" in batch:
            box = OPENING if config.opening is None else config.opening
            salient = batch["saliency"] > SALIENT

            def made(own: Tensor) -> Tensor:
                return complete(maps, own, salient, quantile=config.quantile, opening=box)
        else:
            box = FREE_OPENING if config.opening is None else config.opening

            def made(own: Tensor) -> Tensor:
                return complete_without_saliency(
                    maps, own, images, foreground=config.foreground, background=config.background,
                    iterations=config.crf_iterations, opening=box,
                )  # fmt: skip

        count = tags.shape[1]
        return label_among(count, slots, made).masked_fill(~roi, ignore_label(count))


class GetamRecipe:
    """Tags (and, if there are any, saliency maps) in; a segmenter out."""

    name = "getam"
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ("saliency",)
    labelled_by = "getam+pamr:completion"
    config_type = GetamConfig
    presets = PRESETS

    def losses(
        self, net: nn.Module, batch: Mapping[str, Tensor], progress: float, config: GetamConfig
    ) -> dict[str, Tensor]:
        """L_cls alone, then L_cls + L_fg + L_bg + L_dense (+ L_sal), from one forward."""
        images, tags, known = batch["image"], batch["tags"], batch.get("known")
        if progress < config.joint_from:
            scores, _ = net(images, masks=False)
            return {"cls": classification_loss(scores, tags, known)}
        with capture(net) as tap:
            scores, logits = net(images)
        label = self.labels(net, tap, scores, batch, config)
        foreground, background = foreground_background_loss(logits, label, known)
        losses = {"cls": classification_loss(scores, tags, known), "fg": foreground, "bg": background}
        if config.dense_weight:
            probabilities = logits.float().softmax(1)
            losses["dense"] = dense_energy(
                probabilities, images, label, batch["roi"], weight=config.dense_weight
            )
        if config.saliency_weight and "saliency" in batch:
            losses["sal"] = config.saliency_weight * saliency_loss(logits, batch["saliency"], batch["roi"])
        return losses

    def labels(
        self, net: nn.Module, tap: Any, scores: Tensor, batch: Mapping[str, Tensor], config: GetamConfig
    ) -> Tensor:
        """What the joint phase learns from: `pseudo_labels` of the same forward."""
        return pseudo_labels(net, tap, scores, batch, config)
