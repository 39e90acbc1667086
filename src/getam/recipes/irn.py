"""IRN's second half (arXiv 1904.05044) behind any network with maps: BAS, SIPE and Puzzle-CAM end with it.

Maps of a first network → seeds where they are sure → class boundaries, learned from pairs of seeds → the maps walk, and
stop at the boundaries → pseudo labels → a segmenter. Seeds and labels come from completion, or from published levels,
which presume maps that many more steps have taught: a CAM of few is hardly ever low enough to be background.
Displacements, which tell one object of a class from the next, are left out: they have a branch and a loss of their own,
and labels of classes ask nothing of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from getam.data.collection import Collection
from getam.errors import InputError
from getam.labels.double_threshold import IRN_HIGH, IRN_LOW
from getam.losses.boundary import RADIUS
from getam.nets.build import FROM_NOTHING
from getam.pipeline import LABEL_SCALES, Pipeline
from getam.pipeline_text import parse_pipeline
from getam.recipes.base import EMBEDDED, CommonConfig
from getam.recipes.boundaries import BoundariesRecipe
from getam.recipes.labelling import label_stage
from getam.recipes.stages import Stage, TrainStage
from getam.recipes.supervised import SupervisedConfig, SupervisedRecipe
from getam.registry import find

BACKGROUND = 0.25  # arXiv 1904.05044: sem_seg_bg_thres of its code's run_sample.py
SHARED = ("backbone", "weights", "size", "zoom", "colour_jitter", "batch_size", "seed")


class IRNConfig(SupervisedConfig):
    """Options of the stages: those of learning from masks are the segmenter's, and of them `SHARED` the others' too."""

    first: str = "classifier"  # recipe of the network whose maps are read, with its defaults
    method: str = ""  # METHOD[OPTION=VALUE,…] of the maps; "": what `first` is usually read with
    numbers: str = "light"  # preset of `first`, and of the boundaries, where they have it
    first_steps: PositiveInt | None = None  # None: those of that preset, else `steps`; and so below
    boundary_steps: PositiveInt | None = None
    rule: Literal["completion", "levels"] = "completion"  # of seeds and labels; "levels" are the three below
    seed_high: float = Field(default=IRN_HIGH, ge=0, le=1)  # background levels of the seeds
    seed_low: float = Field(default=IRN_LOW, ge=0, le=1)
    background: float = Field(default=BACKGROUND, ge=0, le=1)  # its level after the walk
    radius: int = Field(default=RADIUS, ge=2)  # of pairs that are learned from, in cells of 4 pixels
    label_scales: tuple[PositiveInt, ...] = Field(default=LABEL_SCALES, min_length=1)  # long sides in pixels

    @model_validator(mode="after")
    def _levels(self) -> Self:
        if self.seed_low > self.seed_high:
            raise ValueError(f"seed_low {self.seed_low} is above seed_high {self.seed_high}")
        return self

    def of_stage(self, recipe: Any, steps: int | None) -> Any:
        """The configuration of a stage's recipe: its preset, what was said of `SHARED`, and its steps.

        Raises:
            InputError: the recipe has no such preset.
        """
        if self.numbers not in recipe.presets:
            raise InputError(
                f"recipe {recipe.name} has no preset {self.numbers!r} (option numbers): choose one of "
                f"{', '.join(recipe.presets)}"
            )
        said = {name: getattr(self, name) for name in SHARED if name in self.model_fields_set}
        values = {"steps": self.steps, **recipe.presets[self.numbers], **said}
        return recipe.config_type(**(values if steps is None else {**values, "steps": steps}))


def second_half(network: str, maps: Pipeline, config: IRNConfig) -> tuple[Stage, ...]:
    """What any recipe with maps can end with: seeds → boundaries → labels → segmenter.

    Args:
        network: name of the stage whose network gives the maps.
        maps: of which its method, options, scales and flip are used; its refiners and labels are not.
        config: of the stages.

    Raises:
        InputError: there is no such preset.
    """
    if config.rule == "completion":
        completed = replace(maps, labels="completion", label_options={})
        seeds = replace(completed, refine=("pamr",))
        walked = replace(completed, refine=("walk-irn", "pamr"))
    else:
        agreed = {"high": config.seed_high, "low": config.seed_low}
        seeds = replace(maps, refine=(), labels="irn", label_options=agreed)
        level = {"high": config.background, "low": config.background}  # one for both: nothing is undecided
        walked = replace(maps, refine=("walk-irn",), labels="threshold", label_options=level)
    learned = config.of_stage(BoundariesRecipe(), config.boundary_steps)
    learned = learned.model_copy(update={"radius": config.radius})
    segmenter = config.narrowed(SupervisedConfig)
    return (
        label_stage("seeds", seeds, network),
        TrainStage("boundaries", BoundariesRecipe(), learned, labels="seeds"),
        label_stage("labels", walked, network, boundaries="boundaries"),
        TrainStage("segmenter", SupervisedRecipe(), segmenter, labels="labels"),
    )


# Levels for the seeds and after the walk: IRN's are the defaults, those of BAS are from 2309.12943, of Puzzle-CAM from
# 2101.11253. SIPE has none: its background is a map.
PRESETS: dict[str, dict[str, Any]] = {
    "light": {},
    "paper-voc": {"backbone": "resnet50", "numbers": "paper-voc", "rule": "levels"},
    "paper-voc-bas": {
        "backbone": "resnet50", "numbers": "paper-voc", "rule": "levels", "first": "bas", "seed_low": 0.17,
        "background": 0.22,
    },
    "paper-voc-puzzle-cam": {
        "backbone": "resnest101e", "numbers": "paper-voc", "rule": "levels", "first": "puzzle-cam", "seed_high": 0.40,
        "seed_low": 0.10, "background": 0.35,
    },
}  # fmt: skip


class IRNRecipe:
    """Tags in; a segmenter out, in five stages.

    Args:
        firsts: recipes, of which `first` can name those whose networks give maps and learn from one set of photos.
    """

    name = "irn"
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ("saliency",)
    config_type = IRNConfig
    presets = PRESETS

    def __init__(self, firsts: Mapping[str, Any]) -> None:
        self.firsts = {
            name: recipe
            for name, recipe in firsts.items()
            if getattr(recipe, "labelled_by", "") and "target" not in recipe.config_type.model_fields
        }

    def stages(self, config: IRNConfig, collection: Collection) -> Sequence[Stage]:
        """first → seeds → boundaries → labels → segmenter.

        Raises:
            InputError: `first` is no recipe with maps or needs more than tags, the method cannot read its network, the
                backbone is no CNN or comes with the package, or an option of a stage is out of range.
        """
        if config.weights == EMBEDDED:
            raise InputError(
                "recipe irn trains networks of several kinds, and the embedded model is of one: give the backbone's "
                "own weights with --weights FILE"
            )
        first = find("recipe with maps (option first)", config.first, self.firsts)
        its = config.of_stage(first, config.first_steps)
        maps = parse_pipeline(config.method or first.labelled_by, scales=config.label_scales)
        if config.method and (maps.refine or ":" in config.method):
            raise InputError(
                f"option method: {config.method} names more than METHOD[OPTION=VALUE,…]: refiners and labels of "
                "irn are its own"
            )
        seeds, boundaries, *rest = second_half(first.name, maps, config)
        if collection.samples:
            _try(its, boundaries, maps, collection)
        return TrainStage(first.name, first, its), seeds, boundaries, *rest


def _try(first: CommonConfig, boundaries: Stage, maps: Pipeline, collection: Collection) -> None:
    """Refuse before any training what would otherwise end the run after its first one."""
    assert isinstance(boundaries, TrainStage)
    net, walls = (
        config.model_copy(update={"weights": FROM_NOTHING}).build(collection.classes).eval()
        for config in (first, boundaries.config)
    )
    # any rule that needs maps
    walked = replace(maps, refine=("walk-irn",), labels="threshold", label_options={})
    several = any(len(sample.tags) > 1 for sample in collection.samples)
    walked.check(saliency=False, several_tags=several, net=net, boundaries=walls)
