"""Arguments as a Python program holds them: text where a verb takes a path, one thing or a list where it takes several,
a dict where it takes NAME=VALUE.

The command line makes paths and tuples of what is typed; from Python it is `getam.predict("photos", scales=[320])` and
`getam.train(..., options={"rounds": 2})`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache, wraps
from inspect import signature
from pathlib import Path
from types import UnionType
from typing import Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from getam.named import list_named

P = ParamSpec("P")
R = TypeVar("R")


def from_python(verb: Callable[P, R]) -> Callable[P, R]:
    """A verb whose arguments become what its annotations say: a `Path`, or a tuple of them, of text or of numbers.

    A dict becomes a tuple of NAME=VALUE. What may be text stays text, an empty one (weights="": from nothing) is no
    path, and what is of another type is left for the verb to judge.

    >>> @from_python
    ... def shown(photos: Path, *, scales: tuple[int, ...] | None = None, saliency: Path | str = "auto") -> str:
    ...     return f"{photos.name} {scales} {saliency!r}"
    >>> shown("a/photos", scales=[224, 320], saliency="none")
    "photos (224, 320) 'none'"
    >>> shown(Path("photos"), scales=320)
    "photos (320,) 'auto'"
    """
    names = tuple(signature(verb).parameters)
    kinds = cache(lambda: get_type_hints(verb))  # when called: the modules of its types are loaded then

    @wraps(verb)
    def run(*args: P.args, **options: P.kwargs) -> R:
        of = kinds()
        placed: Any = [_as(of[name], value) for name, value in zip(names, args)] + [*args[len(names) :]]
        named: Any = {name: _as(of.get(name), value) for name, value in options.items()}
        return verb(*placed, **named)

    return run


def _as(kind: Any, value: Any) -> Any:
    kinds = get_args(kind) if isinstance(kind, UnionType) or get_origin(kind) is Union else (kind,)
    is_name = isinstance(value, (str, os.PathLike))
    if Path in kinds and str not in kinds and is_name and not isinstance(value, Path) and value != "":
        return Path(value)
    for each in kinds:
        if each == tuple[str, ...] and isinstance(value, Mapping):
            return list_named(value)
        if get_origin(each) is tuple and value is not None:
            several = value if isinstance(value, Iterable) and not is_name else [value]
            return tuple(_as(get_args(each)[0], item) for item in several)
    return value
