"""Random-view consensus (arXiv 2306.11490, extended): a segmenter learns from soft labels, in two views of a crop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor, nn

from getam.losses.classification import classification_loss
from getam.losses.consensus import consensus_loss, soft_cross_entropy
from getam.recipes.base import Config, unwrap

Turn = Literal[90, 180, 270]
SCALES: tuple[float, ...] = (0.5, 0.75, 1.0, 1.5)  # reference: a view is scaled …
TURNS: tuple[Turn, ...] = (90, 180)  # … or turned
WEIGHT = 0.1  # reference: of the consensus, at the end
RAMP_FROM = 20 / 200  # reference: epochs after which it begins to count


class ConsensusConfig(Config):
    """Options of learning from soft labels in two views, beside the common ones."""

    consensus_weight: float = Field(default=WEIGHT, ge=0)  # at the end; it grows from nothing
    consensus_from: float = Field(default=RAMP_FROM, ge=0, lt=1)  # share of the steps before it begins to
    view_scales: tuple[PositiveFloat, ...] = SCALES  # of a view, one of them …
    view_turns: tuple[Turn, ...] = TURNS  # … or degrees by which it is turned

    @model_validator(mode="after")
    def _a_view_at_least(self) -> Self:
        if not self.view_scales and not self.view_turns:
            raise ValueError("view_scales and view_turns are both empty: give one of them")
        return self

    def ramp(self, progress: float) -> float:
        """Weight of the consensus after that share of the steps: 0 until `consensus_from`, then a straight line."""
        share = (progress - self.consensus_from) / (1 - self.consensus_from)
        return self.consensus_weight * max(0.0, share)


@dataclass(frozen=True)
class View:
    """Another look at a square crop: at `scale` of its sides, or turned left by `turns` quarters."""

    scale: float = 1.0
    turns: int = 0

    def of(self, images: Tensor, patch: int) -> Tensor:
        """Photos (B,3,H,W) in this view, sides in multiples of the patch."""
        size = [max(patch, round(side * self.scale / patch) * patch) for side in images.shape[-2:]]
        if size != list(images.shape[-2:]):
            images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
        return images.rot90(self.turns, (2, 3))

    def back(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (B,C+1,·,·) of the view on the pixels (H,W) of the crop."""
        upright = logits.rot90(-self.turns, (2, 3))
        if upright.shape[-2:] == size:
            return upright
        return F.interpolate(upright, size=size, mode="bilinear", align_corners=False)


def draw_view(config: ConsensusConfig) -> View:
    """Scaled or turned, by the toss of a coin where there are both; then each of its values is as likely."""
    scaled = not config.view_turns or (bool(config.view_scales) and _draw(2) == 0)
    if scaled:
        return View(scale=config.view_scales[_draw(len(config.view_scales))])
    return View(turns=config.view_turns[_draw(len(config.view_turns))] // 90)


def _draw(count: int) -> int:
    return int(torch.randint(count, ()))


class ConsensusRecipe:
    """Soft labels in, a segmenter out."""

    name = "consensus"
    needs: tuple[str, ...] = ("mask", "belief")
    uses: tuple[str, ...] = ()
    labelled_by = ""
    config_type = ConsensusConfig
    presets: dict[str, dict[str, Any]] = {"light": {}}  # noqa: RUF012

    def losses(
        self, net: nn.Module, batch: Mapping[str, Tensor], progress: float, config: ConsensusConfig
    ) -> dict[str, Tensor]:
        """½ (sCE₁ + sCE₂) + λ(t) L_con, and ½ L_cls of both views; the network runs once a view."""
        images, tags, known = batch["image"], batch["tags"], batch.get("known")
        label, belief = batch["mask"], batch["belief"]
        scores, logits = [], []
        for view in (draw_view(config), draw_view(config)):
            found = net(view.of(images, unwrap(net).patch))
            scores.append(classification_loss(found.scores, tags, known))
            logits.append(view.back(found.logits, (images.shape[-2], images.shape[-1])))
        pixels = [soft_cross_entropy(each, label, belief, tags, known) for each in logits]
        consensus = consensus_loss(logits[0], logits[1], label, known)
        return {
            "cls": (scores[0] + scores[1]) / 2,
            "pixel": (pixels[0] + pixels[1]) / 2,
            "con": config.ramp(progress) * consensus,
        }
