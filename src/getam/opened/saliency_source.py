"""What `--saliency` stands for: a folder, a provider by its name, the best of them that is here, or nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from getam.data.collection import Collection
from getam.data.photos import read_grey
from getam.errors import InputError
from getam.opened.lists import NONE
from getam.opened.saliency import AUTO_PROVIDER, best_installed
from getam.pipeline import SALIENT

T = TypeVar("T")
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
    maps = [sample.saliency for sample in looked_at(collection.samples)]
    mute = []
    for file in (file for file in maps if file is not None):
        with suppress(InputError):
            mute.append(is_mute(np.asarray(read_grey(file))))
    return float(np.mean(mute)) if mute else 0.0


def is_mute(values: npt.NDArray[np.uint8]) -> bool:
    """Whether a map (h,w) calls nothing salient, or the whole photo."""
    return not NOTHING <= np.mean(values > 255 * SALIENT) <= EVERYTHING


def looked_at(photos: Sequence[T]) -> Sequence[T]:
    """At most `LOOKED_AT` of them, evenly chosen."""
    return photos[:: max(1, -(-len(photos) // LOOKED_AT))]


def heard(collection: Collection, given: Path | str | None) -> Collection:
    """The collection as it is; where most saliency maps say nothing, that is said, and "auto" leaves them all out."""
    if all(sample.saliency is None for sample in collection.samples):
        return collection
    if not left_out(mute_share(collection), given):
        return collection
    return replace(collection, samples=tuple(replace(s, saliency=None) for s in collection.samples))


def left_out(mute: float, given: Path | str | None) -> bool:
    """Whether maps of which that share says nothing are left out; said, and also where somebody asked for them."""
    if mute <= 0.5:
        return False
    what = f"{mute:.0%} of the saliency maps call nothing salient, or the whole photo"
    if str(given) != AUTO_PROVIDER:
        logger.warning("%s: masks may be better without them (--saliency none)", what)
        return False
    logger.warning("%s: they are left out, and maps of the tags alone decide what is background", what)
    return True
