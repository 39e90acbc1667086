"""GETAM, then the same network again on its own labels: a segmenter that is told the tags labels the training photos.

Stage `getam` trains from tags end to end. Stage `labels` asks that network for masks of the training photos, told their
tags, at several scales, mirrored, with a dense CRF, and leaves undecided where saliency maps disagree. Stage
`segmenter` trains on those labels as if they were masks: one student, or several that go on from the teacher with other
seeds and augmentation, whose weights are then averaged. Two-stage systems of the field end this way (docs/results.md
says what each part is worth).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from getam.data.collection import Collection
from getam.errors import InputError
from getam.labels.deep import label_among
from getam.labels.enlarge import enlarged
from getam.labels.told import told_beliefs, told_label
from getam.nets.inference import photo_logits
from getam.recipes.getam import PRESETS as GETAM_PRESETS
from getam.recipes.getam import GetamConfig, GetamRecipe
from getam.recipes.stages import LabelStage, MeanStage, Networks, Stage, TrainStage
from getam.recipes.supervised import SupervisedConfig, SupervisedRecipe
from getam.refine.crf import dense_crf
from getam.refine.crf_parameters import DEEPLAB
from getam.refine.scaled import shrunk


class SelfTrainingConfig(GetamConfig, SupervisedConfig):
    """Options of the stages: GETAM's own are those of the first one, those of learning from masks of the later ones."""

    rounds: int = Field(default=1, ge=1)  # times of labelling and training on the labels
    round_steps: int | None = Field(default=None, ge=1)  # of each training on labels; None: `steps`
    students: int = Field(
        default=1, ge=1, le=26
    )  # trained on each round's labels; of several the mean goes on
    go_on: bool = True  # each training goes on from the network before; False: from the backbone's weights
    label_scales: tuple[int, ...] = (224, 320)  # long sides in pixels
    label_flip: bool = True
    label_crf: int = Field(default=5, ge=0)  # mean-field iterations; 0 leaves the CRF out
    label_least: float = Field(default=0.0, ge=0, le=1)  # belief below which a pixel is undecided


STRONG: dict[str, Any] = {"zoom": (0.6, 1.6), "colour_jitter": True, "class_mix": 0.5}
"""Augmentation of every second student. Alone it gains nothing; its network errs elsewhere, so their mean does."""

PRESETS: dict[str, dict[str, Any]] = {"light": {}, "paper-voc": GETAM_PRESETS["paper-voc"]}


class SelfTrainingRecipe:
    """Tags (and, if there are any, saliency maps) in; a segmenter out, in three stages or more."""

    name = "self-training"
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ("saliency",)
    config_type = SelfTrainingConfig
    presets = PRESETS

    def stages(self, config: SelfTrainingConfig, collection: Collection) -> Sequence[Stage]:
        """getam → labels → segmenter (→ labels-2 → segmenter-2 …); a segmenter of several students is their mean.

        Raises:
            InputError: students that begin anew: their mean would be of networks that have nothing to do with each
                other.
        """
        if config.students > 1 and not config.go_on:
            raise InputError(
                f"students={config.students} are averaged, which needs a common start: leave go_on=false out, or "
                "students"
            )
        options = config.model_dump()
        first = GetamConfig(**{name: options[name] for name in GetamConfig.model_fields})
        steps = config.steps if config.round_steps is None else config.round_steps
        later = SupervisedConfig(
            **{**{name: options[name] for name in SupervisedConfig.model_fields}, "steps": steps}
        )
        found: list[Stage] = [TrainStage("getam", GetamRecipe(), first)]
        teacher = "getam"
        for number in range(1, config.rounds + 1):
            suffix = f"-{number}" if number > 1 else ""
            labels, student = f"labels{suffix}", f"segmenter{suffix}"
            found.append(
                LabelStage(labels, (teacher,), partial(told_by, teacher, config), label_options(config))
            )
            start = teacher if config.go_on else ""
            several = [f"{student}-{chr(ord('a') + place)}" for place in range(config.students)]
            for name, its in zip(
                several if config.students > 1 else [student], student_configs(later, config)
            ):
                found.append(TrainStage(name, SupervisedRecipe(), its, labels=labels, start=start))
            if config.students > 1:
                found.append(MeanStage(student, tuple(several)))
            teacher = student
        return tuple(found)


def student_configs(first: SupervisedConfig, config: SelfTrainingConfig) -> list[SupervisedConfig]:
    """Of each student: the first as it is asked for, every second with `STRONG` augmentation, each with its seed."""
    return [
        first.model_copy(update={"seed": first.seed + place, **(STRONG if place % 2 else {})})
        for place in range(config.students)
    ]


def label_options(config: SelfTrainingConfig) -> dict[str, Any]:
    """What decides the labels besides the network."""
    return {
        name: value for name, value in config.model_dump(mode="json").items() if name.startswith("label_")
    }


def told_by(
    teacher: str,
    config: SelfTrainingConfig,
    nets: Networks,
    photo: Tensor,
    present: list[int],
    saliency: Tensor | None,
) -> Tensor:
    """The label rule, after its first two arguments: one photo, told its tags."""
    net: Any = nets[teacher]
    small = shrunk(photo[None])[0]
    logits = photo_logits(net, small, config.label_scales, flip=config.label_flip)
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
