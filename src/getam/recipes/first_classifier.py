"""What recipes share that begin with a classifier and end with a segmenter: the classifier's options and its needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field, field_validator

from getam.data.collection import Collection
from getam.errors import InputError, WeightsError
from getam.nets.build import FROM_NOTHING
from getam.nets.segmenter import Segmenter
from getam.recipes.base import EMBEDDED, Config, checked_options
from getam.recipes.classifier import ClassifierConfig

SHARED = ("backbone", "size", "zoom", "colour_jitter", "batch_size", "seed")
"""Options that the classifier has from the segmenter, unless it is told its own."""


class FirstClassifier(Config):
    """Options of the segmenter, and beside them those of the classifier where they differ."""

    system: ClassVar[str]  # the recipe's name
    classifier: dict[str, Any] = Field(default_factory=dict)  # by name, as of recipe classifier

    @field_validator("classifier")
    @classmethod
    def _options_of_a_classifier(cls, given: dict[str, Any]) -> dict[str, Any]:
        return checked_options(ClassifierConfig, given)

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
            WeightsError: as `require_weights`, or as of every joint network.
        """
        self.require_weights()
        return super().build(classes)

    def require_weights(self) -> None:
        """Raise `WeightsError` where all is to start from the embedded model, which has no classifier to begin with."""
        if self.weights == EMBEDDED:
            raise WeightsError(
                f"recipe {self.system} begins with a classifier, and the embedded model is none: give --weights "
                f"FILE.safetensors of {self.backbone}"
            )

    def require_contrast(self, collection: Collection, remedy: str) -> None:
        """Raise `InputError` where all photos have the same tags, from which a classifier learns nothing."""
        tags = {frozenset(sample.tags) for sample in collection.samples}
        if len(tags) == 1:
            said = ", ".join(sorted(next(iter(tags)))) or "none"
            raise InputError(
                f"recipe {self.system} begins with a classifier, which learns nothing where all "
                f"{len(collection.samples)} photos have the same tags ({said}): add photos of other classes, or of "
                f"none{remedy}"
            )
