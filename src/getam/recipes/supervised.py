"""The ceiling: the same network trained with true masks, for comparison with what tags alone can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from getam.losses.classification import classification_loss
from getam.losses.cross_entropy import pixel_loss
from getam.nets.segmenter import Segmenter
from getam.recipes.base import Config, poly


class SupervisedRecipe:
    """Masks in, a segmenter out: cross-entropy over the labelled pixels, and the class score from the tags."""

    name = "supervised"
    needs: tuple[str, ...] = ("mask",)
    config_type = Config
    presets: dict[str, dict[str, Any]] = {"light": {}}  # noqa: RUF012

    def build(self, config: Config, classes: Sequence[str]) -> Segmenter:
        """The network GETAM trains, unchanged."""
        return config.build(classes)

    def lr_factor(self, progress: float, config: Config) -> float:
        """Warm-up, then poly."""
        return poly(progress, config.warmup, config.poly_power)

    def losses(
        self, net: nn.Module, batch: Mapping[str, Tensor], progress: float, config: Config
    ) -> dict[str, Tensor]:
        """Pixel cross-entropy on the true masks plus L_cls."""
        scores, logits = net(batch["image"])
        return {"cls": classification_loss(scores, batch["tags"]), "pixel": pixel_loss(logits, batch["mask"])}
