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


# IRN's classifier (arXiv 1904.05044): 5 epochs of 10,582 photos; the reference's SGD has in effect no momentum, and its
# rate presumes that. On COCO as SIPE (arXiv 2203.02909) trains its like: 5 epochs of 82,081 photos, all else the same.
PAPER: dict[str, Any] = {
    "backbone": "resnet50", "size": 512, "zoom": (320 / 512, 640 / 512), "batch_size": 16, "optimizer": "sgd",
    "lr": 1.0, "pretrained_lr": 0.1, "weight_decay": 1e-4, "momentum": 0.0, "warmup": 0.0, "poly_power": 0.9,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "light": {},
    "paper-voc": {**PAPER, "steps": 3_305},
    "paper-coco": {**PAPER, "steps": 25_650},
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
