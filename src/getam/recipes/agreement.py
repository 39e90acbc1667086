"""From photos and tags alone: a classifier's maps teach a segmenter, and what the two agree on teaches it once more.

Stage `classifier` learns tags. Stage `labels` reads its maps; no saliency map says where the background is. Stage
`segmenter` learns from those labels as if they were masks. Told the tags, it errs in other places than the maps that it
has learned from, so stage `labels-2` keeps what both say and leaves the rest undecided, and stage `segmenter-2` goes on
from `segmenter` with that. It is `self-training` for photos without saliency maps, in whose place the classifier stands
(docs/results.md says what each part is worth).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from getam.data.collection import Collection
from getam.nets.build import FROM_NOTHING
from getam.pipeline import LABEL_SCALES, Pipeline
from getam.pipeline_text import parse_pipeline
from getam.recipes.classifier import ClassifierRecipe
from getam.recipes.first_classifier import FirstClassifier
from getam.recipes.labelling import label_stage
from getam.recipes.stages import LabelStage, Networks, Stage, TrainStage
from getam.recipes.supervised import SupervisedConfig, SupervisedRecipe
from getam.recipes.told_labels import ToldOptions, label_options, told_by

NAME = "agreement"
CLASSIFIER, LABELS, SEGMENTER = "classifier", "labels", "segmenter"


class AgreementConfig(SupervisedConfig, FirstClassifier, ToldOptions):
    """Options of the stages: the segmenter's own, the classifier's where they differ, and those of the labels."""

    system: ClassVar[str] = NAME
    rounds: int = Field(default=1, ge=0)  # times of labelling by agreement and training on that
    round_steps: int | None = Field(default=None, ge=1)  # of each training after the first; None: `steps`
    label_scales: tuple[int, ...] = Field(default=LABEL_SCALES, min_length=1)  # of maps and masks alike
    label_flip: bool = True
    maps: str = "layercam+pamr:free"  # METHOD+REFINER:LABELLER that reads the classifier; without saliency


PRESETS: dict[str, dict[str, object]] = {"light": {}}


class AgreementRecipe:
    """Tags in; a segmenter out, in five stages."""

    name = NAME
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    config_type = AgreementConfig
    presets = PRESETS

    def stages(self, config: AgreementConfig, collection: Collection) -> Sequence[Stage]:
        """classifier → labels → segmenter → labels-2 → segmenter-2 (→ labels-3 …).

        Raises:
            InputError: all photos have the same tags, or the maps cannot be read from such a classifier.
            WeightsError: all is to start from the embedded model, which has no classifier.
        """
        config.require_weights()
        config.require_contrast(collection, "")
        pipeline = parse_pipeline(config.maps, scales=config.label_scales, flip=config.label_flip)
        if collection.samples:
            _try(config, pipeline, collection)
        own = config.narrowed(SupervisedConfig)
        later = own.model_copy(update={"steps": config.round_steps or own.steps})
        found: list[Stage] = [
            TrainStage(CLASSIFIER, ClassifierRecipe(), config.first()),
            label_stage(LABELS, pipeline, CLASSIFIER),
            TrainStage(SEGMENTER, SupervisedRecipe(), own, labels=LABELS),
        ]
        teacher = SEGMENTER
        for number in range(2, config.rounds + 2):
            labels, student = f"{LABELS}-{number}", f"{SEGMENTER}-{number}"
            rule = partial(told_without_saliency, teacher, config)
            found.append(LabelStage(labels, (teacher,), rule, label_options(config), agrees_with=LABELS))
            found.append(TrainStage(student, SupervisedRecipe(), later, labels=labels, start=teacher))
            teacher = student
        return tuple(found)


def told_without_saliency(
    teacher: str,
    config: AgreementConfig,
    nets: Networks,
    photo: Tensor,
    present: list[int],
    saliency: Tensor | None,
) -> Tensor:
    """The rule of stage `labels-2`, after its first two arguments: what the segmenter says, told the tags.

    Saliency maps are not used where there are any. A photo without a tag is background, all of it.
    """
    return told_by(teacher, config, nets, photo, present, None)


def _try(config: AgreementConfig, pipeline: Pipeline, collection: Collection) -> None:
    """Refuse before any training what would otherwise end the run after its first one."""
    net = config.first().model_copy(update={"weights": FROM_NOTHING}).build(collection.classes).eval()
    several = any(len(sample.tags) > 1 for sample in collection.samples)
    pipeline.check(saliency=False, several_tags=several, net=net)
