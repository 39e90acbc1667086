"""UM-CAM (arXiv 2306.11490, MICCAI 2023; extended in Pattern Recognition 2025): made for grey slices with one organ.

Stage `classifier` learns tags. Stage `labels` reads UM-CAM out of it, lets each map grow along geodesics of the photo
from its strongest part, and keeps the result as soft labels. Stage `segmenter` learns from those in two random views.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from getam.data.collection import Collection
from getam.labels.deep import torch_label_dtype
from getam.maps.methods.um_cam import um_cam
from getam.maps.multiscale import multiscale
from getam.photo_size import fit_patches
from getam.recipes.classifier import ClassifierRecipe
from getam.recipes.consensus import ConsensusConfig, ConsensusRecipe
from getam.recipes.first_classifier import FirstClassifier
from getam.recipes.stages import Networks, SoftLabelStage, Stage, TrainStage
from getam.refine.geodesic import CONTRAST, FALL_OFF, MARGIN, Variances, geodesic_expansion
from getam.refine.scaled import shrunk


class UMCAMConfig(ConsensusConfig, FirstClassifier):
    """Options of the stages: the segmenter's own, the classifier's where they differ, and those of the labels."""

    system: ClassVar[str] = "um-cam"
    layers: tuple[str, ...] | None = None  # of the classifier, for UM-CAM; None: one of each resolution
    label_scales: tuple[int, ...] = Field(default=(224, 320), min_length=1)  # long sides in pixels
    label_flip: bool = True
    fall_off: float = Field(default=FALL_OFF, gt=0)
    contrast: float = Field(default=CONTRAST, ge=0, le=1)
    margin: int = Field(default=MARGIN, ge=0)
    variances: Variances = "weighted"  # of the split that finds seeds


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
            WeightsError: as `FirstClassifier.require_weights`.
        """
        config.require_weights()
        config.require_contrast(collection, ", such as slices beside the organ")
        later = config.narrowed(ConsensusConfig)
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
