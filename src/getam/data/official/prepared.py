"""What a prepared set is made of: archives unpacked for a while, tags as CSV, the hash of its masks."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from getam.data.masks import LabelMap, read_mask
from getam.data.official.archives import Archive, unpack, what_to_fetch
from getam.data.tag_table import tag_table
from getam.data.tags import TagRow

HASHES = "masks.sha256"


@contextmanager
def opened(folder: Path, archives: Sequence[Archive], near: Path) -> Iterator[tuple[Path, ...]]:
    """Where each archive is unpacked: as it lies in `folder`, or in a folder below `near` for the time of the block.

    Raises `InputError`, saying what to fetch, where some are in neither form in `folder`.
    """
    found = [each.locate(folder) for each in archives]
    if missing := [each for each, place in zip(archives, found, strict=True) if place is None]:
        raise what_to_fetch(missing, folder)
    with tempfile.TemporaryDirectory(prefix="unpacked-", dir=near) as name:
        places = []
        for each, place in zip(archives, found, strict=True):
            assert place is not None
            if place.is_file():
                unpack(place, Path(name), each.needed)
                place = Path(name)
            places.append(place)
        yield tuple(places)


def tags_csv(tags: Mapping[str, Iterable[str]]) -> bytes:
    """`image,tags` of photo id → tags, sorted by id.

    >>> tags_csv({"b": [], "a": ["cat", "dog"]}).decode().split()
    ['image,tags', 'a,cat;dog', 'b,']
    """
    rows = [TagRow(name, tuple(its), 0) for name, its in sorted(tags.items())]
    return tag_table(rows, ()).encode()


class MasksHash:
    """sha256 over label maps in the order of their ids: of each the line "id height width", then its bytes by row."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._last = ""

    def add(self, name: str, label: LabelMap) -> None:
        """The next one; its id comes after those before."""
        if name <= self._last:
            raise ValueError(f"{name} after {self._last}: ids are added in order, once each")
        self._last = name
        self._hash.update(f"{name} {label.shape[0]} {label.shape[1]}\n".encode() + label.tobytes())

    def digest(self) -> str:
        """In hexadecimal."""
        return self._hash.hexdigest()


def masks_hash(folder: Path, names: Iterable[str]) -> str:
    """`MasksHash` of the PNGs called `names` in `folder`."""
    hashed = MasksHash()
    for name in sorted(names):
        hashed.add(name, read_mask(folder / f"{name}.png"))
    return hashed.digest()


def lines(items: Iterable[str]) -> bytes:
    """A text file of one item a line.

    >>> lines(["a", "b"])
    b'a\\nb\\n'
    """
    return "".join(f"{item}\n" for item in items).encode()
