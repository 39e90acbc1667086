"""Photos kept out of training, to see what was learned on others: a share of each class, the same ones every time."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from getam.data.collection import Collection, Sample
from getam.errors import InputError

FEWEST = 40  # photos below which none is spared
MOST = 100  # photos that are enough to judge by
HELD_OUT = 0.1  # share, where nothing is said


def divided(collection: Collection, share: float) -> tuple[Collection, Collection]:
    """Divide a collection into what is trained on and what is held out.

    Photos are taken in the order of the sha256 of their names, the rarest class first, until `share` of its photos are
    held out; a class keeps at least half of its photos. Collections of fewer than 40 photos are not divided, and from
    larger ones at most about 100 are held out.

    Args:
        collection: as loaded.
        share: of the photos to hold out, in [0,½]; 0 holds out none.

    Returns:
        (trained on, held out), each in the order of the collection; the second may be empty.

    Raises:
        InputError: `share` outside [0,½].
    """
    if not 0 <= share <= 0.5:
        raise InputError(f"{share:g} of the photos cannot be held out: give a share between 0 and 0.5")
    photos = len(collection.samples)
    if photos < FEWEST or not share:
        return collection, replace(collection, samples=())
    share = min(share, MOST / photos)
    having: dict[str, list[Sample]] = {name: [] for name in collection.classes}
    untagged: list[Sample] = []
    for sample in sorted(collection.samples, key=_drawn):
        for tag in sample.tags:
            having[tag].append(sample)
        if not sample.tags:
            untagged.append(sample)
    held: set[str] = set()
    spare = {name: len(its) // 2 for name, its in having.items()}  # how many a class can still give
    for its in sorted([*having.values(), untagged], key=len):
        wanted = round(share * len(its)) - sum(sample.name in held for sample in its)
        for sample in its:
            if wanted > 0 and sample.name not in held and all(spare[tag] for tag in sample.tags):
                held.add(sample.name)
                wanted -= 1
                spare.update({tag: spare[tag] - 1 for tag in sample.tags})
    divided = [
        tuple(sample for sample in collection.samples if (sample.name in held) == out)
        for out in (False, True)
    ]
    return replace(collection, samples=divided[0]), replace(collection, samples=divided[1])


def _drawn(sample: Sample) -> str:
    return hashlib.sha256(sample.name.encode(errors="surrogateescape")).hexdigest()
