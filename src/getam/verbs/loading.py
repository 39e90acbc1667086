"""A collection for a verb: how its tags were understood is said on stderr."""

from __future__ import annotations

from typing import Any

from getam.data.collection import Collection, load_collection
from getam.errors import InputError
from getam.outputs.progress import say


def load_and_say(*given: Any, **options: Any) -> Collection:
    """`getam.data.collection.load_collection`, its notes on stderr, a line each: stdout is for results."""
    collection = load_collection(*given, **options)
    for note in collection.notes:
        say(note)
    return collection


def require_background(collection: Collection) -> None:
    """Raise `InputError` where no class of the true masks counts as background."""
    if collection.void and not collection.background:
        raise InputError(
            "the true masks have no background (their classes.txt begins with 'void'): name the classes that count as"
            f" background with --background, of {', '.join(collection.mask_classes)}"
        )
