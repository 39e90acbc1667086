"""What `--saliency` stands for: a folder, a provider by its name, the best of them that is here, or nothing."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from getam.data.collection import Collection
from getam.data.photos import read_grey
from getam.errors import InputError
from getam.pipeline import SALIENT
from getam.verbs.lists import NONE
from getam.verbs.saliency import AUTO_PROVIDER, best_installed

logger = logging.getLogger(__name__)

LOOKED_AT = 100  # maps of a collection, evenly chosen: what a provider does not know shows early
NOTHING, EVERYTHING = (
    0.01,
    0.95,
)  # salient shares of a photo below and above which a map does not say where things are


def source_of(given: Path | str | None, *, used: bool) -> Path | str | None:
    """The folder or provider that makes the maps: "auto" is the best that is installed, said in one line.

    Args:
        given: to `--saliency`. A folder that exists comes before a provider of its name, and before "none".
        used: whether saliency is of any use: if not, "auto", which nobody may have asked for, is nothing.

    Returns:
        None for no saliency.
    """
    if given is None or Path(given).exists():
        return given
    name = str(given)
    if name == NONE or (name == AUTO_PROVIDER and not used):
        return None
    return best_installed() if name == AUTO_PROVIDER else given


def mute_share(collection: Collection) -> float:
    """Share, in [0,1], of the saliency maps that call nothing salient, or everything; of at most `LOOKED_AT` of them.

    Those that cannot be read do not count here: whoever needs them says so.
    """
    maps = [sample.saliency for sample in collection.samples if sample.saliency is not None]
    mute = []
    for file in maps[:: max(1, -(-len(maps) // LOOKED_AT))]:
        with suppress(InputError):
            share = np.mean(np.asarray(read_grey(file)) > 255 * SALIENT)
            mute.append(not NOTHING <= share <= EVERYTHING)
    return float(np.mean(mute)) if mute else 0.0


def heard(collection: Collection, given: Path | str | None) -> Collection:
    """The collection as it is; where most saliency maps say nothing, that is said, and "auto" leaves them all out."""
    if not collection.has_saliency or (mute := mute_share(collection)) <= 0.5:
        return collection
    what = f"{mute:.0%} of the saliency maps call nothing salient, or the whole photo"
    if str(given) != AUTO_PROVIDER:
        logger.warning("%s: masks may be better without them (--saliency none)", what)
        return collection
    logger.warning("%s: they are left out, and maps of the tags alone decide what is background", what)
    return replace(collection, samples=tuple(replace(s, saliency=None) for s in collection.samples))
