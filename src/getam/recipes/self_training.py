"""GETAM, then the same network again on its own labels: a segmenter that is told the tags labels the training photos.

Stage `getam` trains from tags end to end. Stage `labels` asks that network for masks of the training photos, told their
tags, with a dense CRF, and leaves undecided where saliency maps disagree. Stage
`segmenter` trains on those labels as if they were masks: one student, or several that go on from the teacher with other
seeds and augmentation, whose weights are then averaged. Two-stage systems of the field end this way (docs/results.md
says what each part is worth). With `finish_size` a last, shorter training on larger crops goes on from it, for outlines
and small things; the mean of before and after is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from pydantic import Field

from getam.data.collection import Collection
from getam.errors import InputError
from getam.nets.build import FROM_NOTHING
from getam.recipes.getam import PRESETS as GETAM_PRESETS
from getam.recipes.getam import GetamConfig, GetamRecipe
from getam.recipes.stages import LabelStage, MeanStage, Stage, TrainStage
from getam.recipes.supervised import SupervisedConfig, SupervisedRecipe
from getam.recipes.told_labels import ToldOptions, label_options, told_by


class SelfTrainingConfig(GetamConfig, SupervisedConfig, ToldOptions):
    """Options of the stages: GETAM's own are those of the first one, those of learning from masks of the later ones."""

    rounds: int = Field(default=1, ge=1)  # times of labelling and training on the labels
    round_steps: int | None = Field(default=None, ge=1)  # of each training on labels; None: `steps`
    students: int = Field(
        default=1, ge=1, le=26
    )  # trained on each round's labels; of several the mean goes on
    go_on: bool = True  # each training goes on from the network before; False: from the backbone's weights
    finish_size: int | None = Field(
        default=None, ge=32
    )  # side of the crops of a last training; None: there is none


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
                other. Or a `finish_size` that is no larger than `size`, or no multiple of the network's patch.
        """
        if config.students > 1 and not config.go_on:
            raise InputError(
                f"students={config.students} are averaged, which needs a common start: leave go_on=false out, or "
                "students"
            )
        first, own = config.narrowed(GetamConfig), config.narrowed(SupervisedConfig)
        later = own.model_copy(update={"steps": config.round_steps or own.steps})
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
        if config.finish_size is not None:
            found += finish(teacher, later, config, config.finish_size, collection.classes)
        return tuple(found)


def finish(
    teacher: str, later: SupervisedConfig, config: SelfTrainingConfig, size: int, classes: Sequence[str]
) -> list[Stage]:
    """Labels by stage `teacher`, half as many steps on crops of `size` that go on from it, and the mean of both.

    A batch has about as many pixels as before. Rates and augmentation are those that were tried (docs/results.md).

    Raises:
        InputError: the size is no larger than that of the crops before, or no multiple of the network's patch.
    """
    if size <= later.size:
        raise InputError(
            f"finish_size={size} is no larger than the crops of {later.size} before: leave it out"
        )
    its = later.model_copy(
        update={
            "size": size,
            "batch_size": max(1, round(later.batch_size * (later.size / size) ** 2)),
            "steps": max(1, later.steps // 2),
            "seed": later.seed + config.students,
            "lr": 0.4 * later.lr,
            "pretrained_lr": 0.5 * later.pretrained_lr,
            **STRONG,
        }
    )
    its.model_copy(update={"weights": FROM_NOTHING}).build(classes)  # says now what cannot be
    return [
        LabelStage("labels-last", (teacher,), partial(told_by, teacher, config), label_options(config)),
        TrainStage("finish", SupervisedRecipe(), its, labels="labels-last", start=teacher),
        MeanStage("last", ("finish", teacher)),  # its file says the size of the first
    ]


def student_configs(first: SupervisedConfig, config: SelfTrainingConfig) -> list[SupervisedConfig]:
    """Of each student: the first as it is asked for, every second with `STRONG` augmentation, each with its seed."""
    return [
        first.model_copy(update={"seed": first.seed + place, **(STRONG if place % 2 else {})})
        for place in range(config.students)
    ]
