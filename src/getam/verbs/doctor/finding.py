"""One line of what `getam doctor` found, and how lines are made where looking itself may fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One fact.

    Attributes:
        about: heading it stands under.
        name: of what.
        value: what was found.
        remedy: what to do, where something is wrong or missing; else empty.
        problem: something is wrong. A missing extra is not.
        stops: a problem that keeps getam from working.
    """

    about: str
    name: str
    value: str
    remedy: str = ""
    problem: bool = False
    stops: bool = False


def looked(about: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What `look` finds; where it fails, that, as a problem that stops getam: a broken installation raises anything."""
    try:
        yield from look()
    except Exception as error:
        said = " ".join(str(error).split())
        yield Finding(
            about, "cannot be told", f"{type(error).__name__}: {said}", "mend the packages first, then look again",
            problem=True, stops=True,
        )  # fmt: skip
