"""Parts of Gradio's that take less than they would, or more.

Gradio makes parts anew when an answer changes them, from their class: so it is the class that is changed.
"""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Callable
from typing import Any

from getam.errors import InputError


def only_uploads(part: Any) -> Any:
    """Let a part of a page take uploaded files alone: Gradio would fetch an address that is sent in their place.

    Args:
        part: a component, which is changed and returned.
    """
    name = "async_move_resource_to_block_cache"
    move = getattr(type(part), name)

    async def moved(self: Any, place: Any) -> Any:
        if "://" in str(place):
            raise InputError("an address is no photo: drop the file itself")
        return await move(self, place)

    return _changed(part, name, moved)


def any_choice(part: Any) -> Any:
    """Let a list send what it has, whatever it may choose from by then: an answer can overtake the next question.

    Args:
        part: a component, which is changed and returned; who gets its value judges it.
    """
    return _changed(part, "preprocess", lambda self, payload: payload)


def _changed(part: Any, name: str, method: Callable[..., Any]) -> Any:
    """Give it a class of the same name with another method, past Gradio's metaclass, which writes a file for each."""
    kind = type(part)
    part.__class__ = ABCMeta.__new__(type(kind), kind.__name__, (kind,), {name: method})
    return part
