"""What cannot be learned from a data set, and what to do instead: a sentence each, before training starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from getam.data.collection import Collection
from getam.engine.model_file import read_metadata
from getam.errors import InputError
from getam.nets.embedded import embedded_model

FEW = 5  # photos of a class below which it will hardly be learned
KNOWN_BELOW = 100  # photos: with more, training beats a network that has never seen them


def known_classes() -> tuple[str, ...]:
    """Of the model that comes with the package; none where a build carries none."""
    try:
        return tuple(read_metadata(embedded_model())[1])
    except InputError:
        return ()


def warnings_of(collection: Collection, known: Sequence[str]) -> list[str]:
    """Sentences about tags that say too little.

    Args:
        collection: that is to be trained on.
        known: classes of the model that comes with the package.
    """
    photos = collection.samples
    said = []
    if len({frozenset(sample.tags) for sample in photos}) == 1:
        tags = ", ".join(photos[0].tags)
        remedy = "add photos of other classes, or of none"
        if tags and not collection.has_saliency:
            remedy += ", or saliency maps with --saliency"
        said.append(
            f"all {len(photos)} photos have the same tags ({tags or 'none'}), which tells nothing apart: {remedy}"
        )
    count = Counter(tag for sample in photos for tag in sample.tags)
    if rare := [f"{name} ({count[name]})" for name in collection.classes if 0 < count[name] < FEW]:
        said.append(
            f"classes with too few photos to be learned: {', '.join(rare)}; {FEW} are the least, 20 are better"
        )
    if never := [name for name in collection.classes if not count[name]]:
        said.append(f"classes that no photo is tagged with: {', '.join(never)}; they will not be found")
    if collection.classes and set(collection.classes) <= set(known) and len(photos) < KNOWN_BELOW:
        said.append(
            f"the model that comes with the package knows {', '.join(collection.classes)} already: `getam label` and "
            f"`getam predict` without --model may do better than {len(photos)} photos can teach"
        )
    return said
