"""Labels by a trained segmenter: each training photo, told its tags, after a CRF."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from getam.labels.deep import label_among
from getam.labels.enlarge import enlarged
from getam.labels.told import told_beliefs, told_label
from getam.nets.inference import photo_logits
from getam.recipes.base import CommonConfig
from getam.recipes.stages import Networks
from getam.refine.crf import dense_crf
from getam.refine.crf_parameters import DEEPLAB
from getam.refine.scaled import shrunk


class ToldOptions(CommonConfig):
    """Options of a stage of such labels."""

    label_scales: tuple[int, ...] | None = Field(
        default=None, min_length=1
    )  # long sides in pixels; None: the one at which the network predicts
    label_flip: bool = False
    label_crf: int = Field(default=5, ge=0)  # mean-field iterations; 0 leaves the CRF out
    label_least: float = Field(default=0.0, ge=0, le=1)  # belief below which a pixel is undecided


def label_options(config: ToldOptions) -> dict[str, Any]:
    """What decides the labels besides the network."""
    return {
        name: value for name, value in config.model_dump(mode="json").items() if name.startswith("label_")
    }


def told_by(
    teacher: str,
    config: ToldOptions,
    nets: Networks,
    photo: Tensor,
    present: list[int],
    saliency: Tensor | None,
) -> Tensor:
    """The label rule, after its first two arguments: one photo, told its tags."""
    net: Any = nets[teacher]
    small = shrunk(photo[None])[0]
    logits = photo_logits(net, small, config.label_scales or (net.side,), flip=config.label_flip)
    classes = torch.tensor(present, dtype=torch.int64, device=logits.device)
    beliefs = told_beliefs(logits, classes)
    if config.label_crf and present:
        image = small.to(logits.device, torch.float32)[None]
        beliefs = dense_crf(image, beliefs[None], parameters=DEEPLAB, iterations=config.label_crf)[0]
    salient = None if saliency is None else shrunk(saliency[None, None])[0, 0].to(logits.device)

    def made(own: Tensor) -> Tensor:
        return told_label(beliefs, own[0], salient, least=config.label_least)[None]

    label = label_among(len(net.classes), classes[None], made)[0]
    return enlarged(label, (photo.shape[-2], photo.shape[-1]))
