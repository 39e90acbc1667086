"""The classifier of I2CRC (arXiv 2206.09554): a CNN, three convolutions, and a map per class whose mean is its score.

The map of a class is its class activation map as it stands: what a loss says of the map, it says of the CAM.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Final

import torch
from torch import Tensor, nn

from getam.errors import InputError
from getam.nets.classifier import OUTPUT_STRIDE, Classifier, timm_body
from getam.nets.network import evaluating

HIDDEN: Final = 3  # convolutions between backbone and score map (reference)
CLASS_MAP: Final = "classifier"  # the module whose output is the class score map


class ScoreMapClassifier(Classifier):
    """`Classifier` whose head is convolutions: 3×3 and ReLU three times, then 1×1; the score is the mean of the map.

    Args:
        model: a timm CNN without a head.
        dim: channels of its last feature map.
        classes: class names without background.
        width: of the 3×3 convolutions.
    """

    kind: ClassVar[str] = "score-map"

    def __init__(self, model: nn.Module, dim: int, classes: Sequence[str], width: int) -> None:
        super().__init__(model, classes)
        layers: list[nn.Module] = []
        for given, made in pairwise((dim, *(width,) * HIDDEN)):
            layers += [nn.Conv2d(given, made, 3, padding=1), nn.ReLU()]
        self.hidden = nn.Sequential(*layers)
        self.classifier = nn.Conv2d(width, len(self.classes), 1)

    def class_map(self, images: Tensor) -> Tensor:
        """Photos (B,3,H,W) in 0–255 → X (B,C,h,w), at the stride `patch`."""
        return self.classifier(self.hidden(self.model.forward_features(self.normalised(images))))

    def forward(self, images: Tensor) -> Tensor:
        """X (B,C,h,w) of photos (B,3,H,W) in 0–255, H and W multiples of `patch`; its mean is the class logits."""
        return self.class_map(images)

    def class_scores(self, images: Tensor) -> Tensor:
        """(B,C) class logits."""
        return self.class_map(images).mean((2, 3))


def build_score_map(
    backbone: str,
    classes: Sequence[str],
    width: int,
    *,
    weights: str | None = None,
    output_stride: int = OUTPUT_STRIDE,
) -> ScoreMapClassifier:
    """A timm CNN with a fresh head of that width.

    Args:
        backbone, classes, weights, output_stride: as of `build_classifier`.
        width: of the 3×3 convolutions; 512 in the reference.

    Raises:
        WeightsError: as of `build_classifier`.
        InputError: timm has no such model, or its last features are no channels over a grid.
    """
    model = timm_body(backbone, weights=weights, output_stride=output_stride)
    side = 4 * output_stride
    try:
        with torch.no_grad(), evaluating(model):
            found = model.forward_features(torch.zeros(1, 3, side, side))
    except AssertionError:  # a transformer that takes photos of one size
        found = None
    if not isinstance(found, Tensor) or found.ndim != 4 or found.shape[1] != model.num_features:
        raise InputError(
            f"{backbone} has no last feature map of channels over a grid, which a class score map is made from: choose "
            "a CNN of timm such as tf_efficientnet_lite0, mobilenetv2_100 or resnet50"
        )
    return ScoreMapClassifier(model, int(found.shape[1]), classes, width)
