"""Options that take a list, in which the word "none" stands for the empty one."""

from __future__ import annotations

from collections.abc import Sequence

from getam.errors import InputError

NONE = "none"


def without_none(names: Sequence[str], option: str) -> tuple[str, ...]:
    """The names that were given, none for "none".

    Raises:
        InputError: "none" beside another name; the message calls the option `option`.

    >>> without_none(["none"], "refine"), without_none(["walk-afa", "par"], "refine")
    ((), ('walk-afa', 'par'))
    """
    if NONE not in names:
        return tuple(names)
    if others := [name for name in names if name != NONE]:
        raise InputError(f"{option} is none and {others[0]} at once: choose one of the two")
    return ()
