"""The network of IRN (arXiv 1904.05044) that learns where classes meet: a CNN's stages, and a boundary of all of them.

Each stage passes a 1×1 convolution to 32 channels and a group norm, is brought to a quarter of the photo and rectified;
another 1×1 convolution over all of them gives the boundary. A class head beside it tells the tags.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from getam.errors import InputError
from getam.nets.classifier import OUTPUT_STRIDE, Classifier, build_classifier
from getam.nets.network import Network, evaluating
from getam.threads import Hooks

CHANNELS, GROUPS = 32, 4  # arXiv 1904.05044: of each stage
STRIDE = 4  # arXiv 1904.05044: of the boundaries


class BoundaryOutputs(NamedTuple):
    """scores (B,C); boundaries (B,h,w), logits at a quarter of the photo's sides."""

    scores: Tensor
    boundaries: Tensor


class BoundaryNetwork(Network):
    """Photos in 0–255 → class scores, and where one class ends and another begins.

    Args:
        classifier: on a CNN of timm; its stages are read, and its scores are the network's.
        frozen: the backbone keeps its weights and statistics, as published; the heads alone learn.

    Raises:
        InputError: the classifier's model is no CNN with several stages.
    """

    kind: ClassVar[str] = "boundaries"

    def __init__(self, classifier: Classifier, *, frozen: bool = True) -> None:
        super().__init__(
            classifier.classes, classifier.mean.flatten().tolist(), classifier.std.flatten().tolist()
        )
        self.classifier = classifier
        self.frozen = frozen
        self._stages = _stages(classifier)
        self.tops = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, CHANNELS, 1, bias=False), nn.GroupNorm(GROUPS, CHANNELS))
            for _, channels in self._stages
        )
        self.boundary = nn.Conv2d(CHANNELS * len(self._stages), 1, 1)
        if frozen:
            for parameter in classifier.pretrained_parameters():
                parameter.requires_grad_(False)

    @property
    def patch(self) -> int:
        """As of every network."""
        return self.classifier.patch

    def pretrained_parameters(self) -> Iterator[nn.Parameter]:
        """The classifier's, without its head."""
        return self.classifier.pretrained_parameters()

    def train(self, mode: bool = True) -> Self:
        """As of every module; a frozen backbone stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.classifier.eval()
        return self

    def class_scores(self, images: Tensor) -> Tensor:
        """(B,C) class logits alone."""
        return self.classifier(images)

    @torch.no_grad()
    def learned_boundaries(self, images: Tensor) -> Tensor:
        """Photos (B,3,H,W) in 0–255 → (B,H/4,W/4) in (0,1), from the mean logit of photo and mirror image (code)."""
        with evaluating(self):
            logits = self(images).boundaries + self(images.flip(-1)).boundaries.flip(-1)
        return (logits.float() / 2).sigmoid()

    def forward(self, images: Tensor) -> BoundaryOutputs:
        """One forward for both; images (B,3,H,W) float in 0–255, H and W multiples of `patch`."""
        found: list[Tensor] = []
        with Hooks() as hooks:
            for name, _ in self._stages:
                hooks.after(
                    self.classifier.model.get_submodule(name), lambda _m, _i, output: found.append(output)
                )
            scores = self.classifier(images)
        grid = (images.shape[-2] // STRIDE, images.shape[-1] // STRIDE)
        tops = [
            F.interpolate(top(stage), size=grid, mode="bilinear").relu()
            for top, stage in zip(self.tops, found)
        ]
        return BoundaryOutputs(scores, self.boundary(torch.cat(tops, 1))[:, 0])


def build_boundaries(
    backbone: str,
    classes: Sequence[str],
    *,
    weights: str | None = None,
    output_stride: int = OUTPUT_STRIDE,
    frozen: bool = True,
) -> BoundaryNetwork:
    """The boundary network on a timm CNN; `frozen` as of `BoundaryNetwork`, other args as `build_classifier`.

    Raises:
        WeightsError, InputError: as `build_classifier` and `BoundaryNetwork`.
    """
    classifier = build_classifier(backbone, classes, weights=weights, output_stride=output_stride)
    try:
        return BoundaryNetwork(classifier, frozen=frozen).train()
    except InputError:
        raise InputError(
            f"{backbone} has no stages of feature maps from which class boundaries could be read: choose a CNN of timm "
            "such as tf_efficientnet_lite0, mobilenetv2_100, resnet50 or regnety_016"
        ) from None


@torch.no_grad()
def _stages(classifier: Classifier) -> list[tuple[str, int]]:
    """Name and channels of the stages of a CNN, shallow to deep; a small photo shows whether they give feature maps."""
    stages = [
        (entry["module"], int(entry["num_chs"]))
        for entry in getattr(classifier.model, "feature_info", None) or []
    ]
    found: list[Tensor] = []
    side = 2 * classifier.patch
    with evaluating(classifier), Hooks() as hooks:
        for name, _ in stages:
            hooks.after(classifier.model.get_submodule(name), lambda _m, _i, output: found.append(output))
        classifier(torch.zeros(1, 3, side, side))
    sides = [stage.shape[-1] for stage in found if stage.ndim == 4]
    channels = [stage.shape[1] for stage in found]
    if channels != [count for _, count in stages] or len(sides) < len(stages) or len(set(sides)) < 2:
        raise InputError("the model has no stages of feature maps")
    return stages
