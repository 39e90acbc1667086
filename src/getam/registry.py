"""Things with names: looked up in one way, refused in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from getam.errors import InputError

Named = TypeVar("Named")


def find(kind: str, name: str, among: Mapping[str, Named]) -> Named:
    """What goes by that name.

    Raises:
        InputError: nothing does; the message lists what there is.

    >>> find("recipe", "bread", {"bread": "flour"})
    'flour'
    """
    if name not in among:
        raise InputError(f"there is no {kind} {name!r}: choose one of {', '.join(among)}")
    return among[name]
