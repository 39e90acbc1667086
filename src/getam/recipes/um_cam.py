"""UM-CAM (arXiv 2306.11490, MICCAI 2023; extended in Pattern Recognition 2025): made for grey slices with one organ.

Stage `classifier` learns tags. Stage `labels` reads UM-CAM out of it, lets each map grow along geodesics of the photo
from its strongest part, and keeps the result as soft labels. Stage `segmenter` learns from those in two random views.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, ValidationError, field_validator
from torch import Tensor

from getam.data.collection import Collection
from getam.errors import InputError, WeightsError
from getam.labels.deep import torch_label_dtype
from getam.maps.methods.um_cam import um_cam
from getam.maps.multiscale import multiscale
from getam.nets.build import FROM_NOTHING
from getam.nets.segmenter import Segmenter
from getam.photo_size import fit_patches
from getam.recipes.base import EMBEDDED
from getam.recipes.classifier import ClassifierConfig, ClassifierRecipe
from getam.recipes.consensus import ConsensusConfig, ConsensusRecipe
from getam.recipes.stages import Networks, SoftLabelStage, Stage, TrainStage
from getam.refine.geodesic import CONTRAST, FALL_OFF, MARGIN, Variances, geodesic_expansion
from getam.refine.scaled import shrunk

SHARED = ("backbone", "size", "zoom", "colour_jitter", "batch_size", "seed")
"""Options that the classifier has from the segmenter, unless it is told its own."""


class UMCAMConfig(ConsensusConfig):
    """Options of the stages: the segmenter's own, the classifier's where they differ, and those of the labels."""

    classifier: dict[str, Any] = Field(default_factory=dict)  # by name, as of recipe classifier
    layers: tuple[str, ...] | None = None  # of the classifier, for UM-CAM; None: one of each resolution
    label_scales: tuple[int, ...] = Field(default=(224, 320), min_length=1)  # long sides in pixels
    label_flip: bool = True
    fall_off: float = Field(default=FALL_OFF, gt=0)
    contrast: float = Field(default=CONTRAST, ge=0, le=1)
    margin: int = Field(default=MARGIN, ge=0)
    variances: Variances = "weighted"  # of the split that finds seeds

    @field_validator("classifier")
    @classmethod
    def _options_of_a_classifier(cls, given: dict[str, Any]) -> dict[str, Any]:
        try:
            return ClassifierConfig(**given).model_dump(include=set(given))
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from None

    def first(self) -> ClassifierConfig:
        """The classifier's configuration; it passes over the photos as often as the segmenter, unless told otherwise.

        Weights are the segmenter's where the backbone is.
        """
        its: dict[str, Any] = {name: getattr(self, name) for name in SHARED} | self.classifier
        if "weights" not in its and (its["backbone"] == self.backbone or self.weights == FROM_NOTHING):
            its["weights"] = self.weights
        if "steps" not in its:
            its["steps"] = max(1, round(self.steps * self.batch_size / its["batch_size"]))
        return ClassifierConfig(**its)

    def build(self, classes: Sequence[str]) -> Segmenter:
        """The segmenter.

        Raises:
            WeightsError: it was to start from the embedded model, which has no classifier to begin with.
        """
        self.require_weights()
        return super().build(classes)

    def require_weights(self) -> None:
        """Raise `WeightsError` where all is to start from the embedded model, which has no classifier to begin with."""
        if self.weights == EMBEDDED:
            raise WeightsError(
                "recipe um-cam begins with a classifier, and the embedded model is none: give --weights "
                f"FILE.safetensors of {self.backbone}"
            )


# 200 epochs of either; which layers UM-CAM reads and how many slices there were is not published
PAPER: dict[str, Any] = {
    "backbone": "resnet50", "size": 256, "batch_size": 12, "optimizer": "sgd", "lr": 0.01, "pretrained_lr": 0.01,
    "momentum": 0.99, "weight_decay": 5e-4, "warmup": 0.0, "poly_power": 0.9, "label_scales": (256,),
    "label_flip": False, "variances": "mean",
    "classifier": {
        "backbone": "vgg16", "size": 224, "batch_size": 32, "optimizer": "sgd", "lr": 1e-3, "pretrained_lr": 1e-3,
        "momentum": 0.9, "weight_decay": 5e-4, "warmup": 0.0, "poly_power": 0.0,
    },
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {"light": {}, "paper-fetal-brain": PAPER}


class UMCAMRecipe:
    """Tags in; a segmenter out, in three stages."""

    name = "um-cam"
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    config_type = UMCAMConfig
    presets = PRESETS

    def stages(self, config: UMCAMConfig, collection: Collection) -> Sequence[Stage]:
        """classifier → labels → segmenter.

        Raises:
            InputError: all photos have the same tags: a classifier learns nothing from them.
            WeightsError: as `UMCAMConfig.require_weights`.
        """
        config.require_weights()
        tags = {frozenset(sample.tags) for sample in collection.samples}
        if len(tags) == 1:
            said = ", ".join(sorted(next(iter(tags)))) or "none"
            raise InputError(
                f"recipe um-cam begins with a classifier, which learns nothing where all {len(collection.samples)} "
                f"photos have the same tags ({said}): add photos of other classes, or of none, such as slices beside "
                "the organ"
            )
        options = config.model_dump()
        later = ConsensusConfig(**{name: options[name] for name in ConsensusConfig.model_fields})
        return (
            TrainStage("classifier", ClassifierRecipe(), config.first()),
            SoftLabelStage("labels", ("classifier",), partial(expanded, config), label_options(config)),
            TrainStage("segmenter", ConsensusRecipe(), later, labels="labels"),
        )


def label_options(config: UMCAMConfig) -> dict[str, Any]:
    """What decides the labels besides the network."""
    names = ("layers", "label_scales", "label_flip", "fall_off", "contrast", "margin", "variances")
    options = config.model_dump(mode="json")
    return {name: options[name] for name in names}


def expanded(
    config: UMCAMConfig, nets: Networks, photo: Tensor, present: list[int], saliency: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The label rule, after its first argument: UM-CAM of each tag, expanded; the strongest is the pixel's.

    Belief is its value, in [0,1]; from ½ on the label is the tag, below it is background.
    """
    net: Any = nets["classifier"]
    height, width = photo.shape[-2:]
    dtype = torch_label_dtype(len(net.classes))
    if not present:
        return torch.zeros(height, width, dtype=dtype), torch.zeros(height, width)
    image = photo.to(next(net.parameters()).device, torch.float32)[None]
    sizes = [fit_patches(height, width, side, net.patch) for side in config.label_scales]
    maps = multiscale(
        lambda resized: um_cam(net, resized, [present], layers=config.layers),
        image, sizes, flip=config.label_flip,
    )  # fmt: skip
    grown = geodesic_expansion(
        shrunk(image), maps, fall_off=config.fall_off, contrast=config.contrast, margin=config.margin,
        variances=config.variances,
    )  # fmt: skip
    whole = F.interpolate(grown, size=(height, width), mode="bilinear", align_corners=True)[0]
    belief, strongest = whole.clamp(0, 1).max(0)
    numbers = torch.tensor(present, device=belief.device)[strongest] + 1
    return numbers.masked_fill(belief < 0.5, 0).to(dtype), belief
