"""Puzzle-CAM (arXiv 2101.11253): a CNN classifier whose score map of a photo is also that of its tiles, put together.

A tile shows a part of an object only, so its map has to find that part; the whole photo's map learns to agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, field_validator
from torch import Tensor, nn

from getam.errors import InputError
from getam.losses.classification import classification_loss
from getam.losses.puzzle import merge, reconstruction_loss, reconstruction_weight, tile, tiles_a_side
from getam.nets.cam_network import CAMNetwork, build_cam_network
from getam.nets.classifier import OUTPUT_STRIDE
from getam.recipes.base import CommonConfig

PIECES, ALPHA, RAMP = 4, 4.0, 0.5  # arXiv 2101.11253


class PuzzleCAMConfig(CommonConfig):
    """Options of the Puzzle-CAM recipe beside the common ones."""

    lr: float = Field(default=1e-3, gt=0)  # of the classifier: ten times the backbone's (reference)
    output_stride: Literal[8, 16, 32] = OUTPUT_STRIDE  # of CNNs that timm can dilate; others keep their own
    pieces: int = Field(default=PIECES, ge=4)  # tiles of a photo, a square number
    alpha: float = Field(default=ALPHA, ge=0)  # weight of L_re, once it is whole
    ramp: float = Field(default=RAMP, ge=0, le=1)  # share of the steps in which that weight grows from 0
    distance: Literal["l1", "l2"] = "l1"
    level: Literal["raw", "normalised"] = "raw"  # what of the score maps is compared

    @field_validator("pieces")
    @classmethod
    def _square(cls, pieces: int) -> int:
        try:
            tiles_a_side(pieces)
        except InputError as error:
            raise ValueError(str(error)) from None
        return pieces

    def build(self, classes: Sequence[str]) -> CAMNetwork:
        """A timm CNN with a score map per class.

        Raises:
            InputError: the backbone is no CNN of stages, or `size` cannot be cut into tiles that it takes.
        """
        net = build_cam_network(
            self.backbone, classes, weights=self.weights, output_stride=self.output_stride
        )
        side = tiles_a_side(self.pieces)
        if self.size % (unit := side * net.patch):
            near = max(1, round(self.size / unit)) * unit
            raise InputError(
                f"size {self.size} cannot be cut into {side}×{side} tiles whose sides are multiples of the "
                f"{net.patch} pixels that {self.backbone} takes for one: use {near}"
            )
        return net


PRESETS: dict[str, dict[str, Any]] = {
    "light": {},
    # 15 epochs of 10,582 photos; the reference's SGD has in effect no momentum, and its rate presumes that
    "paper-voc": {
        "backbone": "resnest101e", "size": 512, "zoom": (0.625, 1.25), "batch_size": 32, "steps": 4_950,
        "optimizer": "sgd", "lr": 1.0, "pretrained_lr": 0.1, "weight_decay": 1e-4, "momentum": 0.0, "warmup": 0.0,
        "poly_power": 0.9,
    },
}  # fmt: skip


class PuzzleCAMRecipe:
    """Tags in; a classifier out whose class activation maps cover more of an object."""

    name = "puzzle-cam"
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    labelled_by = "cam+pamr:completion"
    config_type = PuzzleCAMConfig
    presets = PRESETS

    def losses(
        self, net: nn.Module, batch: Mapping[str, Tensor], progress: float, config: PuzzleCAMConfig
    ) -> dict[str, Tensor]:
        """L_cls + L_p-cls + α(t) L_re."""
        images, tags, known = batch["image"], batch["tags"], batch.get("known")
        whole, tiles = net(images, tile(images, config.pieces))
        merged = merge(tiles, config.pieces)
        difference = reconstruction_loss(
            whole, merged, tags, squared=config.distance == "l2", normalised=config.level == "normalised"
        )
        return {
            "cls": classification_loss(whole.mean((2, 3)), tags, known),
            "p_cls": classification_loss(merged.mean((2, 3)), tags, known),
            "re": reconstruction_weight(progress, config.alpha, config.ramp) * difference,
        }
