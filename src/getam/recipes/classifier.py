"""A plain tag classifier: any timm model, as it is, fine-tuned with the multi-label loss; for maps, not for masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from getam.losses.classification import classification_loss
from getam.nets.classifier import OUTPUT_STRIDE, Classifier, build_classifier
from getam.recipes.base import CommonConfig


class ClassifierConfig(CommonConfig):
    """Options of the classifier recipe beside the common ones."""

    lr: float = Field(
        default=1e-3, gt=0
    )  # of the head: ten times the backbone's, the field's habit (IRN, SIPE)
    output_stride: Literal[8, 16, 32] = OUTPUT_STRIDE  # of CNNs that timm can dilate; others keep their own

    def build(self, classes: Sequence[str]) -> Classifier:
        """A timm model with a fresh head."""
        net = build_classifier(self.backbone, classes, weights=self.weights, output_stride=self.output_stride)
        self.require_multiple(net.patch)
        return net


PRESETS: dict[str, dict[str, Any]] = {
    "light": {},
    # Transformers forget at a CNN's rate.
    "vit": {"lr": 5e-4, "pretrained_lr": 2e-5, "weight_decay": 0.05},
}


class ClassifierRecipe:
    """Tags in; a classifier out."""

    name = "classifier"
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    labelled_by = "layercam+pamr:completion"
    config_type = ClassifierConfig
    presets = PRESETS

    def losses(
        self, net: nn.Module, batch: Mapping[str, Tensor], progress: float, config: ClassifierConfig
    ) -> dict[str, Tensor]:
        """L_cls alone."""
        return {"cls": classification_loss(net(batch["image"]), batch["tags"], batch.get("known"))}
