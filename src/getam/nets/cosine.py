"""A timm model whose scores are cosines (MME, arXiv 1904.06487; ECACL): features → normalise → bias-free linear / T."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from getam.errors import InputError
from getam.nets.classifier import OUTPUT_STRIDE, Classifier, timm_body
from getam.nets.log_odds import log_odds

TEMPERATURE: Final = 0.05  # T (reference)
BOTTLENECK: Final = 512  # width of the linear layer before, for ResNets (reference)


class CosineOutputs(NamedTuple):
    """scores (B,C), and the pooled features (B,D) they are made from."""

    scores: Tensor
    features: Tensor


class CosineHead(nn.Module):
    """Features (B,D) → logits (B,C): w_c · f / (‖f‖ T), f = features, or a linear layer of them.

    Args:
        width: D.
        classes: C.
        bottleneck: width of the linear layer; 0 for none.
    """

    def __init__(self, width: int, classes: int, bottleneck: int = BOTTLENECK) -> None:
        super().__init__()
        self.bottleneck = nn.Linear(width, bottleneck) if bottleneck else nn.Identity()
        self.weights = nn.Linear(bottleneck or width, classes, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """As the class."""
        return self.weights(F.normalize(self.bottleneck(features), dim=1)) / TEMPERATURE


class CosineClassifier(Classifier):
    """Photos in 0–255 → class scores that share a softmax, and features.

    Args:
        model: a timm model whose classifier is a `CosineHead`.
        classes: class names without background.
    """

    kind: ClassVar[str] = "cosine"

    @property
    def head(self) -> CosineHead:
        """Features (B,D) → scores (B,C)."""
        return self.model.get_classifier()

    def class_scores(self, images: Tensor) -> Tensor:
        """(B,C) class logits alone."""
        return self(images).scores

    def log_odds(self, scores: Tensor) -> Tensor:
        """Logits (B,C) → each class against all others: the classes share a softmax."""
        return log_odds(scores)

    def forward(self, images: Tensor) -> CosineOutputs:  # type: ignore[override]
        """Photos (B,3,H,W) float in 0–255, H and W multiples of `patch`."""
        if self.fixed is not None and images.shape[-2:] != self.fixed:
            images = F.interpolate(images, size=self.fixed, mode="bilinear", antialias=True)
        features = self.model.forward_head(
            self.model.forward_features(self.normalised(images)), pre_logits=True
        )
        return CosineOutputs(self.head(features), features)


def build_cosine(
    backbone: str,
    classes: Sequence[str],
    *,
    weights: str | None = None,
    output_stride: int = OUTPUT_STRIDE,
    bottleneck: int = BOTTLENECK,
) -> CosineClassifier:
    """A timm model with a fresh cosine head.

    Args:
        backbone: a timm name.
        classes: class names without background.
        weights: path of a local safetensors file with timm's names; None asks timm's hub; "" starts from nothing.
        output_stride: of a CNN's last feature map, by dilation; a model that timm cannot dilate keeps its own.
        bottleneck: width of the linear layer before the cosines; 0 for none.

    Raises:
        WeightsError: no file was given and the hub cannot be reached, or the file is another model's.
        InputError: timm has no such model, or its scores are not a linear layer of its pooled features.
    """
    model = timm_body(backbone, weights=weights, output_stride=output_stride)
    model.reset_classifier(len(classes))
    linear = model.get_classifier()
    name = next((name for name, module in model.named_modules() if module is linear), "")
    if not isinstance(linear, nn.Linear) or not name:
        raise InputError(
            f"the scores of {backbone} are no linear layer of its pooled features, which recipe ecacl replaces: choose "
            "another backbone, such as tf_efficientnet_lite0, resnet34 or vit_tiny_patch16_224"
        )
    model.set_submodule(name, CosineHead(linear.in_features, len(classes), bottleneck))
    return CosineClassifier(model, classes)
