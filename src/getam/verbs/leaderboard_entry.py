"""A system of the leaderboard: what is trained, and by which stages it comes to pseudo labels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from getam.data.collection import Collection
from getam.errors import InputError
from getam.named import read_named, split_outside
from getam.pipeline import Pipeline
from getam.pipeline_text import parse_pipeline
from getam.recipes import RECIPES, find_recipe
from getam.recipes.base import CommonConfig
from getam.recipes.labelling import label_stage
from getam.recipes.stages import LabelStage, SoftLabelStage, Stage, StagedRecipe, TrainStage
from getam.recipes.supervised import SupervisedConfig, SupervisedRecipe

CEILING = "supervised"  # learns from true masks: the row to which the others are compared
SECOND, LABELS = "second-stage", "labels"


@dataclass(frozen=True)
class Entry:
    """One row of the leaderboard.

    Attributes:
        name: RECIPE[OPTION=VALUE,…][/METHOD+REFINER:LABELLER].
        training: the name without its labels: rows that share it share a network.
        system: the recipe.
        options: of it, besides those that all systems are given.
        pipeline: by which its network labels; None where the system labels in a stage of its own, or learns from masks.
    """

    name: str
    training: str
    system: Any
    options: Mapping[str, Any]
    pipeline: Pipeline | None

    @property
    def from_masks(self) -> bool:
        """Whether the system learns from true masks."""
        return "mask" in self.system.needs

    @property
    def labelled_by(self) -> str:
        """What makes its pseudo labels, in words."""
        if self.from_masks:
            return "true masks"
        return "its own stages" if self.pipeline is None else str(self.pipeline)

    def stages(self, config: CommonConfig, collection: Collection) -> tuple[Stage, ...]:
        """Its own stages, up to its pseudo labels; of a system that learns from masks none."""
        if self.from_masks:
            return ()
        if self.pipeline is None:
            found = list(self.system.stages(config, collection))
            labelling = LabelStage | SoftLabelStage
            last = max(place for place, stage in enumerate(found) if isinstance(stage, labelling))
            return tuple(found[: last + 1])
        network = self.system.name
        return TrainStage(network, self.system, config), label_stage(LABELS, self.pipeline, network)

    def second_stage(self, own: Sequence[Stage], config: SupervisedConfig) -> TrainStage:
        """What all systems end with: the same network, trained on their labels."""
        return TrainStage(SECOND, SupervisedRecipe(), config, labels=own[-1].name if own else "")


def read_entries(texts: Sequence[str]) -> tuple[Entry, ...]:
    """Rows as they are named in --recipes; "all" is every recipe by its own labels.

    The ceiling, where it is among them, comes first.

    Raises:
        InputError: another form, an unknown name, or a row that is named twice.
    """
    named = [name for text in texts for name in (RECIPES if text == "all" else (text,))]
    if double := next((name for name in named if named.count(name) > 1), None):
        raise InputError(f"--recipes names {double} twice")
    return tuple(sorted(map(read_entry, named), key=lambda entry: entry.name != CEILING))


def read_entry(text: str) -> Entry:
    """RECIPE[OPTION=VALUE,…][/METHOD+REFINER:LABELLER] → the row.

    Raises:
        InputError: another form, an unknown name, or labels for a system that makes its own.

    >>> read_entry("classifier/gradcam+par:irn").labelled_by
    'gradcam+par:irn'
    """
    form = re.fullmatch(r"([^\[\]/]+)(?:\[((?:[^\[\]]|\[[^\[\]]*\])*)\])?(?:/(.+))?", text)
    if form is None:
        raise InputError(
            f"{text!r} is not RECIPE[OPTION=VALUE,…][/METHOD+REFINER:LABELLER], such as "
            "classifier[output_stride=8]/gradcam+par:irn"
        )
    name, options, chain = form.groups()
    training = text if chain is None else text.removesuffix(f"/{chain}")
    system = find_recipe(name)
    own = isinstance(system, StagedRecipe) or "mask" in system.needs
    if own and chain:
        raise InputError(f"{text}: recipe {name} makes its labels itself: leave /{chain} out")
    pipeline = None if own else parse_pipeline(chain or system.labelled_by)
    return Entry(text, training, system, read_named(split_outside(options)) if options else {}, pipeline)
