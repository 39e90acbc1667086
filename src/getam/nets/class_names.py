"""What the classes of a network are called: looked up by name or number, written under maps and into file names."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any

from timm.data import ImageNetInfo

from getam.data.tags import suggest
from getam.errors import InputError
from getam.nets.network import Network

IMAGENET_CLASSES = 1000
LISTED = 100  # so many classes can be shown in an error; of more, the nearest names are


class ClassNames:
    """Names of classes by index.

    Args:
        names: index → name; where an index has none, the number stands for it.
        synonyms: whether names hold synonyms between commas, as ImageNet's do, of which the first is shown.
    """

    def __init__(self, names: Mapping[int, str], *, synonyms: bool = False) -> None:
        self._names = dict(names)
        self._synonyms = synonyms

    def full(self, index: int) -> str:
        """The name of a class, with its synonyms."""
        return self._names.get(index, str(index))

    def shown(self, index: int) -> str:
        """The name of a class, of its synonyms the first."""
        return self.full(index).split(",")[0] if self._synonyms else self.full(index)

    def index(self, name: str) -> int:
        """Class index of a name or, where no class is called so, of a number.

        A name is looked for as it is, then in any case, then among the synonyms between commas.

        Raises:
            InputError: there is no such class; the message has the nearest names.
        """
        low = name.casefold()
        for fits in (
            lambda known: known == name,
            lambda known: known.casefold() == low,
            lambda known: low in (part.strip() for part in known.casefold().split(",")),
        ):
            if found := [index for index, known in self._names.items() if fits(known)]:
                return found[0]
        if name.isdecimal() and int(name) in self._names:
            return int(name)
        raise InputError(f"the model has no class {name!r}; {self._instead(name)}")

    def file_name(self, index: int) -> str:
        """A class name fit for a file, of its synonyms the first; with the index where two classes would share it."""
        name = self._safe(index)
        return f"{name} {index}" if self._shared[name.casefold()] > 1 else name

    def _safe(self, index: int) -> str:
        return self.shown(index).replace("/", "-").replace("\\", "-")

    @cached_property
    def _shared(self) -> Counter[str]:
        return Counter(self._safe(index).casefold() for index in self._names)

    def _instead(self, name: str) -> str:
        if len(self._names) <= LISTED:
            return suggest(name, list(self._names.values()))
        known = dict.fromkeys(
            part.strip().casefold() for names in self._names.values() for part in names.split(",")
        )
        near = difflib.get_close_matches(name.casefold(), known, n=3)
        return (f"did you mean {' or '.join(map(repr, near))}? Else " if near else "") + "give its index"


def class_names(net: Any, count: int | None = None) -> ClassNames:
    """Names of the classes of a network: its own, ImageNet's where it has 1000, or else numbers.

    Those of `transformers` have them in their configuration.

    Args:
        net: ours or not.
        count: number of its classes; what it says itself when left out.
    """
    if isinstance(net, Network):
        return ClassNames(dict(enumerate(net.classes)))
    labels = getattr(getattr(net, "config", None), "id2label", None)
    if isinstance(labels, Mapping) and labels:
        return ClassNames(labels, synonyms=len(labels) == IMAGENET_CLASSES)
    if count is None:
        count = said if isinstance(said := getattr(net, "num_classes", None), int) else 0
    return _imagenet() if count == IMAGENET_CLASSES else ClassNames({i: str(i) for i in range(count)})


@lru_cache(maxsize=1)
def _imagenet() -> ClassNames:
    info = ImageNetInfo()
    return ClassNames({i: info.index_to_description(i) for i in range(IMAGENET_CLASSES)}, synonyms=True)
