"""BAS for tagged photos (arXiv 2112.00580, extended in 2309.12943): a classifier and a learned map head, from tags.

A step draws one tag t of each photo, erases its map from F1 and asks the frozen upper half what is left of t. L_bas
reaches F1 only by way of the generator, which reads it live; the upper half is trained by L_cls alone. L_cls compares
the classes of one photo, so a logit above 0 does not mean that the class is there: `BASNetwork.log_odds` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from getam.errors import InputError
from getam.losses.bas import area_loss, erased_scores, foreground_loss, suppression_loss, tags_loss
from getam.nets.bas import OUTPUT_STRIDE, BASNetwork, build_bas
from getam.recipes.base import CommonConfig, unwrap

FOREGROUND_WEIGHT, AREA_WEIGHT = 0.2, 1.2  # VOC with tags (reference); the weight of L_bas is 1


class BASConfig(CommonConfig):
    """Options of the BAS recipe beside the common ones."""

    lr: float = Field(default=1e-3, gt=0)  # of classifier and generator: ten times the backbone's (reference)
    output_stride: Literal[16, 32] = OUTPUT_STRIDE  # of CNNs that timm can dilate; others keep their own
    foreground_weight: float = Field(default=FOREGROUND_WEIGHT, ge=0)
    area_weight: float = Field(default=AREA_WEIGHT, ge=0)

    def build(self, classes: Sequence[str]) -> BASNetwork:
        """A timm CNN, split, with classifier and generator.

        Raises:
            InputError: there is one class only, or `size` is no multiple of the network's patch.
        """
        if len(classes) < 2:
            raise InputError(
                f"recipe bas compares the classes of a photo and learns nothing from one ({', '.join(classes)}): add "
                "photos of another class, or train with --recipe classifier"
            )
        net = build_bas(self.backbone, classes, weights=self.weights, output_stride=self.output_stride)
        self.require_multiple(net.patch)
        return net


PRESETS: dict[str, dict[str, Any]] = {
    "light": {},
    # 10 epochs of 10,582 photos, resized to 512 (here their long side); the reference's SGD has in effect no momentum,
    # and its rate presumes that
    "paper-voc": {
        "backbone": "resnet50", "size": 448, "zoom": (512 / 448, 512 / 448), "batch_size": 16, "steps": 6_610,
        "optimizer": "sgd", "lr": 0.05, "pretrained_lr": 0.005, "weight_decay": 1e-4, "momentum": 0.0, "warmup": 0.0,
        "poly_power": 0.9,
    },
}  # fmt: skip


class BASRecipe:
    """Tags in; class scores and learned maps out."""

    name = "bas"
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    labelled_by = "bas+pamr:completion"
    config_type = BASConfig
    presets = PRESETS

    def losses(
        self, net: nn.Module, batch: Mapping[str, Tensor], progress: float, config: BASConfig
    ) -> dict[str, Tensor]:
        """L_cls + a·L_frg + L_bas + b·L_area; photos without a tag have no part in the last three."""
        tags, known = batch["tags"], batch.get("known")
        found = net(batch["image"])
        targets, tagged = draw_targets(tags)
        maps = found.maps.gather(1, targets[:, None, None, None].expand(-1, 1, *found.maps.shape[2:]))[:, 0]
        # Erased features run as a whole batch, so that batch norms see the same photos as in the first pass.
        erased = erased_scores(unwrap(net).high, found.features, maps, targets)
        scores, class_map, maps, targets = (t[tagged] for t in (found.scores, found.class_map, maps, targets))
        return {
            "cls": tags_loss(found.scores, tags, known),
            "frg": config.foreground_weight
            * foreground_loss(class_map, maps, targets, None if known is None else known[tagged]),
            "bas": suppression_loss(erased[tagged], scores, targets),
            "area": config.area_weight * area_loss(maps),
        }


def draw_targets(tags: Tensor) -> tuple[Tensor, Tensor]:
    """One present tag of each photo, uniformly at random: targets (B,) int64, and tagged (B,) bool.

    Where a photo of tags (B,C) has none, its target is any class and means nothing.
    """
    tagged = (tags > 0).any(1)
    chances = (tags > 0).float() + (~tagged)[:, None]
    return torch.multinomial(chances, 1)[:, 0], tagged
