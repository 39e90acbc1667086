"""Class boundaries as IRN learns them (arXiv 1904.05044): the stage between seeds and a random walk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from getam.label_numbers import ignore_label
from getam.losses.boundary import RADIUS, boundary_losses
from getam.losses.classification import classification_loss
from getam.nets.boundary import BoundaryNetwork, build_boundaries
from getam.nets.classifier import OUTPUT_STRIDE
from getam.recipes.base import CommonConfig


class BoundariesConfig(CommonConfig):
    """Options of learning class boundaries beside the common ones."""

    lr: float = Field(default=5e-3, gt=0)  # of the heads: all that learns where the backbone is frozen
    output_stride: Literal[8, 16, 32] = OUTPUT_STRIDE  # of CNNs that timm can dilate; others keep their own
    radius: int = Field(default=RADIUS, ge=2)  # in cells of 4 pixels: those this far apart are no pair
    frozen: bool = True  # the backbone, with its statistics (reference); then `pretrained_lr` has no part

    def build(self, classes: Sequence[str]) -> BoundaryNetwork:
        """A timm CNN with a head for boundaries and one for tags; errors as of `build_boundaries`."""
        net = build_boundaries(
            self.backbone,
            classes,
            weights=self.weights,
            output_stride=self.output_stride,
            frozen=self.frozen,
        )
        self.require_multiple(net.patch)
        return net


# 3 epochs of 10,582 photos; the reference's SGD has in effect no momentum, and its rate presumes that
PAPER: dict[str, Any] = {
    "backbone": "resnet50", "size": 512, "zoom": (0.5, 1.5), "batch_size": 32, "steps": 990, "optimizer": "sgd",
    "lr": 0.1, "weight_decay": 1e-4, "momentum": 0.0, "warmup": 0.0, "poly_power": 0.9,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {"light": {}, "paper-voc": PAPER}


class BoundariesRecipe:
    """Masks or seeds in; class boundaries out, along which `walk-irn` walks."""

    name = "boundaries"
    needs: tuple[str, ...] = ("mask",)
    uses: tuple[str, ...] = ()
    labelled_by = ""
    config_type = BoundariesConfig
    presets = PRESETS

    def losses(
        self, net: nn.Module, batch: Mapping[str, Tensor], progress: float, config: BoundariesConfig
    ) -> dict[str, Tensor]:
        """L_B of the seeds, its three terms weighted, and L_cls of the tags for the class head beside it."""
        scores, boundaries = net(batch["image"])
        tags = batch["tags"]
        found = boundary_losses(
            boundaries, batch["mask"], radius=config.radius, ignore=ignore_label(tags.shape[1])
        )
        return {
            "cls": classification_loss(scores, tags, batch.get("known")),
            "same bg": found.background / 2,
            "same fg": found.foreground / 2,
            "different": found.different,
        }
