"""SIPE (arXiv 2203.02909): a classifier whose class activation maps and the photo's own prototypes agree.

A step takes class activation maps, finds in them the positions whose surroundings fit each class and the background
best, makes prototypes of these in the features of side branches, and asks that the resemblance to the prototypes be the
class activation map. The background has a prototype too, so labels need no threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from getam.losses.classification import classification_loss
from getam.losses.prototypes import consistency_loss
from getam.maps.methods.is_cam import class_maps, image_specific_cam
from getam.nets.classifier import OUTPUT_STRIDE
from getam.nets.sipe import BRANCHES, SIPENetwork, build_sipe, on_side_grid
from getam.recipes.base import CommonConfig


class SIPEConfig(CommonConfig):
    """Options of the SIPE recipe beside the common ones."""

    lr: float = Field(
        default=1e-3, gt=0
    )  # of classifier and side branches: ten times the backbone's (reference)
    output_stride: Literal[8, 16, 32] = OUTPUT_STRIDE  # of CNNs that timm can dilate; others keep their own
    branches: tuple[int, int, int, int] = BRANCHES  # channels of the side branches
    gsc_weight: float = Field(default=1.0, ge=0)

    def build(self, classes: Sequence[str]) -> SIPENetwork:
        """A timm CNN with a score map per class and side branches.

        Raises:
            InputError: the backbone is no CNN of four stages, or `size` is no multiple of its stride.
        """
        net = build_sipe(
            self.backbone,
            classes,
            weights=self.weights,
            output_stride=self.output_stride,
            branches=self.branches,
        )
        self.require_multiple(net.patch)
        return net


# 5 epochs of 10,582 and of 82,081 photos; the reference's SGD has in effect no momentum, and its rate presumes that
PAPER: dict[str, Any] = {
    "backbone": "resnet50", "size": 512, "zoom": (0.625, 1.25), "batch_size": 16, "optimizer": "sgd", "lr": 1.0,
    "pretrained_lr": 0.1, "weight_decay": 1e-4, "momentum": 0.0, "warmup": 0.0, "poly_power": 0.9,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "light": {},
    "paper-voc": {**PAPER, "steps": 3_305},
    "paper-coco": {**PAPER, "steps": 25_650},
}


class SIPERecipe:
    """Tags in; a classifier out, with features in which a photo's classes and its background have prototypes."""

    name = "sipe"
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    labelled_by = "is-cam[background=true]:threshold[high=0.01,low=0.01]"
    config_type = SIPEConfig
    presets = PRESETS

    def losses(
        self, net: nn.Module, batch: Mapping[str, Tensor], progress: float, config: SIPEConfig
    ) -> dict[str, Tensor]:
        """L_cls + L_GSC."""
        tags = batch["tags"]
        found = net(batch["image"])
        cams, own = on_side_grid(class_maps(found.score_map), found), tags > 0
        inside = (
            F.interpolate(batch["roi"][:, None].float(), size=cams.shape[-2:], mode="nearest-exact")[:, 0] > 0
        )
        specific = image_specific_cam(found.side, cams, own, structure=found.last, inside=inside)
        return {
            "cls": classification_loss(found.score_map.mean((2, 3)), tags, batch.get("known")),
            "gsc": config.gsc_weight * consistency_loss(cams, specific, own, inside),
        }
