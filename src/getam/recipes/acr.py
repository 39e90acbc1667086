"""ACR (arXiv 2308.04321): a tag classifier on a vision transformer whose attention is mirrored where the photo is.

A step runs every photo and its mirror image in one forward. Beside the tags it compares, block by block, what the class
token attends to (L_act) and what patches attend to (L_aff). Maps are made afterwards by `maps.methods.acr`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from getam.attention.capture import capture, global_calls
from getam.errors import CaptureError, InputError
from getam.losses.attention_consistency import consistency_losses
from getam.losses.classification import classification_loss
from getam.nets.network import evaluating
from getam.nets.token_classifier import CHOOSE, TokenClassifier, build_token_classifier
from getam.recipes.base import CommonConfig, unwrap

VOC_ALPHA, COCO_ALPHA = 125.0, 100.0  # of L_act + L_aff: the reference's script for VOC, and its default


class ACRConfig(CommonConfig):
    """Options of the ACR recipe beside the common ones."""

    backbone: str = "deit_tiny_patch16_224"
    pretrained_lr: float = Field(default=2e-5, gt=0)  # transformers forget at a CNN's rate
    weight_decay: float = Field(default=0.05, ge=0)
    alpha: float = Field(default=COCO_ALPHA, ge=0)  # weight of both consistencies

    def build(self, classes: Sequence[str]) -> TokenClassifier:
        """A timm transformer that reads scores from its class token.

        Raises:
            InputError: the backbone has no class token, or not the same tokens in all of its attentions; or `size` is
                no multiple of its patch.
            WeightsError: its weights could not be had.
        """
        net = build_token_classifier(self.backbone, classes, weights=self.weights)
        self.require_multiple(net.patch)
        _require_all_pairs(net, self.backbone, self.size)
        return net


# 10 epochs of 10,582 photos, 5 of 82,783, 4 photos a step; the reference's SGD has in effect neither momentum nor decay
PAPER: dict[str, Any] = {
    "backbone": "vit_base_r50_s16_384", "size": 384, "batch_size": 4, "optimizer": "sgd", "lr": 0.05,
    "pretrained_lr": 0.05, "weight_decay": 0.0, "momentum": 0.0, "warmup": 0.0, "poly_power": 0.9,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "light": {},
    "paper-voc": {**PAPER, "steps": 26_455, "alpha": VOC_ALPHA},
    "paper-coco": {**PAPER, "steps": 103_478, "alpha": COCO_ALPHA},
}


class ACRRecipe:
    """Tags in; a classifier out whose attention makes better maps."""

    name = "acr"
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    labelled_by = "acr+pamr:completion"
    config_type = ACRConfig
    presets = PRESETS

    def losses(
        self, net: nn.Module, batch: Mapping[str, Tensor], progress: float, config: ACRConfig
    ) -> dict[str, Tensor]:
        """L_cls of both views, added, + α (L_act + L_aff)."""
        images, tags, known = batch["image"], batch["tags"], batch.get("known")
        with capture(net) as tap:
            scores = net(torch.cat((images, images.flip(-1))))
        place = unwrap(net).geometry(*images.shape[-2:])
        act, aff = consistency_losses(global_calls(tap, place), place)
        views = [classification_loss(view, tags, known) for view in scores.chunk(2)]
        return {"cls": views[0] + views[1], "act": config.alpha * act, "aff": config.alpha * aff}


@torch.no_grad()
def _require_all_pairs(net: TokenClassifier, backbone: str, side: int) -> None:
    """Run one photo, to say before any training where attentions cannot be compared."""
    try:
        place = net.geometry(side, side)
        with evaluating(net), capture(net) as tap:
            net(torch.zeros(1, 3, side, side))
        global_calls(tap, place)
    except CaptureError as error:
        raise InputError(
            f"recipe acr compares what all tokens attend to in every block, and {backbone} has not the same tokens in "
            f"each ({error}): choose a vision transformer that has, {CHOOSE}"
        ) from None
