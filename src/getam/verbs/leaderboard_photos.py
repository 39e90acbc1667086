"""Which photos a leaderboard trains and tests on."""

from __future__ import annotations

from dataclasses import replace

from getam.data.collection import Collection, Sample
from getam.errors import InputError
from getam.verbs.loading import require_background


def some_of(collection: Collection, count: int | None) -> Collection:
    """That many samples, spread evenly over the sorted ones; all where there is no number."""
    samples: list[Sample] = sorted(collection.samples, key=lambda sample: sample.name)
    if count is None:
        return replace(collection, samples=tuple(samples))
    if not 1 <= count <= len(samples):
        raise InputError(f"{count} photos were asked for: give a number from 1 to {len(samples)}")
    return replace(
        collection, samples=tuple(samples[place * len(samples) // count] for place in range(count))
    )


def require_apart(train: Collection, test: Collection) -> None:
    """Refuse a test on photos that were trained on, or that have no masks, or other classes."""
    if both := {sample.photo for sample in train.samples} & {sample.photo for sample in test.samples}:
        raise InputError(
            f"{len(both)} photos are trained and tested on, the first is {min(both)}: give --split and --test-split, "
            "or --tags and --test-tags, that share none"
        )
    if train.classes != test.classes:
        raise InputError(
            f"the photos to train on have the classes {', '.join(train.classes)}, the test photos "
            f"{', '.join(test.classes)}: name those of both with --classes"
        )
    bare = [sample for sample in test.samples if sample.mask is None]
    if bare:
        raise InputError(
            f"{len(bare)} of {len(test.samples)} test photos have no true mask, the first is {bare[0].photo}: add their"
            " masks to the folder of --truth"
        )
    require_background(test)
