"""What a run or a table was made from, by content: whatever of photos, tags, maps and masks changes can be named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from getam.data.tars import is_file, open_file
from getam.errors import InputError

if TYPE_CHECKING:
    from getam.data.collection import Collection, Sample

READERS = 4  # threads; hashing lets the others read

CONTENT = {"photo": "the content", "saliency": "the saliency map", "mask": "the mask"}
"""What the hashes of a row are called, where they are of the photo called so."""


@dataclass(frozen=True)
class Row:
    """One photo: its name, its tags, sorted, and the sha256 of its files."""

    name: str
    tags: tuple[str, ...]
    photo: str
    saliency: str | None = None
    mask: str | None = None


@dataclass(frozen=True)
class Fingerprint:
    """Everything read from a collection, in order.

    Attributes:
        rows: one for each photo, in the collection's order.
        facts: what else decided what was read, in words, such as the classes.
        files: sha256 of further files by what they are; None where there is none to compare.
    """

    rows: tuple[Row, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str | None] = field(default_factory=dict)

    def digests(self) -> dict[str, str | None]:
        """sha256 of all `photos`, `tags`, `saliency` and `masks` with their names, in order; None: there are none.

        >>> Fingerprint((Row("a", ("cat",), "5f"),)).digests()["masks"] is None
        True
        """
        listed: dict[str, list[str | None]] = {
            "photos": [row.photo for row in self.rows],
            "tags": [json.dumps(row.tags) for row in self.rows],
            "saliency": [row.saliency for row in self.rows],
            "masks": [row.mask for row in self.rows],
        }
        return {what: self._digest(values) for what, values in listed.items()}

    def _digest(self, values: Sequence[str | None]) -> str | None:
        if all(value is None for value in values):
            return None
        lines = (json.dumps([row.name, value]) + "\n" for row, value in zip(self.rows, values, strict=True))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def to_bytes(self) -> bytes:
        """JSON lines: facts and files, then one row a line."""
        lines: list[Any] = [{"facts": dict(self.facts), "files": dict(self.files)}]
        lines += [[row.name, row.tags, row.photo, row.saliency, row.mask] for row in self.rows]
        return "".join(json.dumps(line) + "\n" for line in lines).encode()


def take_fingerprint(
    collection: Collection,
    *,
    masks: bool,
    facts: Mapping[str, str] | None = None,
    files: Mapping[str, Path | None] | None = None,
) -> Fingerprint:
    """Read and hash the files of a collection.

    Args:
        collection: photos, tags, and saliency maps where every photo has one.
        masks: whether its masks are read too.
        facts: in words, what else decides what is read; the classes, and those of the masks, come by themselves.
        files: further files by what they are, such as "weights"; one that is not there is None.
    """
    samples = collection.samples
    with ThreadPoolExecutor(READERS) as pool:
        photos = pool.map(file_hash, [sample.photo for sample in samples])
        maps = pool.map(_hash_or_none, [s.saliency if collection.has_saliency else None for s in samples])
        labels = pool.map(_hash_or_none, [sample.mask if masks else None for sample in samples])
        rows = tuple(
            Row(sample.name, _said(sample), photo, saliency, mask)
            for sample, photo, saliency, mask in zip(samples, photos, maps, labels, strict=True)
        )
    known = {"classes": ", ".join(collection.classes)}
    if masks:
        known["classes of the masks"] = ", ".join(
            ("void" if collection.void else "background", *collection.mask_classes)
        )
        known["classes that count as background"] = ", ".join(collection.background) or "none"
    return Fingerprint(
        rows, {**known, **(facts or {})}, {what: _hash_or_none(file) for what, file in (files or {}).items()}
    )


def read_fingerprint(path: Path) -> Fingerprint:
    """What `Fingerprint.to_bytes` gave.

    Raises:
        InputError: it was something else.
    """
    try:
        first, *lines = (json.loads(line) for line in path.read_bytes().splitlines())
        rows = [Row(name, tuple(tags), photo, saliency, mask) for name, tags, photo, saliency, mask in lines]
        return Fingerprint(tuple(rows), first["facts"], first["files"])
    except (ValueError, TypeError, KeyError):
        raise InputError(
            f"{path} is damaged, so that it cannot be told whether the data changed: delete it to continue without"
            " this check, or give another --out"
        ) from None


def changes(before: Fingerprint, now: Fingerprint) -> list[str]:
    """What changed, each as the end of a sentence; empty: nothing.

    >>> cat, dog = Row("a", ("cat",), "5f"), Row("a", ("dog",), "5f")
    >>> changes(Fingerprint((cat,)), Fingerprint((dog,)))
    ['the tags of 1 photo changed, the first is a (cat, now dog)']
    """
    found = [
        f"the {what} changed from {before.facts[what]} to {now.facts[what]}"
        for what in now.facts
        if before.facts.get(what, now.facts[what]) != now.facts[what]
    ]
    found += [
        f"the {what} file changed"
        for what, content in now.files.items()
        if content and before.files.get(what) and before.files[what] != content
    ]
    return found + _row_changes(before.rows, now.rows)


def _row_changes(before: Sequence[Row], now: Sequence[Row]) -> list[str]:
    old, new = {row.name: row for row in before}, {row.name: row for row in now}
    found = []
    if gone := [name for name in old if name not in new]:
        found.append(f"{_count(gone)} gone, the first is {gone[0]}")
    if added := [name for name in new if name not in old]:
        found.append(f"{_count(added)} new, the first is {added[0]}")
    both = [(old[name], row) for name, row in new.items() if name in old]
    if tags := [(a, b) for a, b in both if a.tags != b.tags]:
        a, b = tags[0]
        first = f"{a.name} ({';'.join(a.tags) or 'none'}, now {';'.join(b.tags) or 'none'})"
        found.append(f"the tags of {_count(tags)} changed, the first is {first}")
    for kind, called in CONTENT.items():
        if names := [a.name for a, b in both if getattr(a, kind) != getattr(b, kind)]:
            found.append(f"{called} of {_count(names)} changed, the first is {names[0]}")
    if not gone and not added and list(old) != list(new):
        place, (a_name, b_name) = next(
            (i, pair) for i, pair in enumerate(zip(old, new), 1) if pair[0] != pair[1]
        )
        found.append(f"the order of the photos changed, number {place} was {a_name} and is {b_name}")
    return found


def _count(things: Sequence[Any]) -> str:
    return f"{len(things)} photo{'' if len(things) == 1 else 's'}"


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal; of one inside a tar, of its own."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _said(sample: Sample) -> tuple[str, ...]:
    """The tags, sorted, then what is unknown, with a question mark."""
    return (*sorted(sample.tags), *sorted(f"{name}?" for name in sample.unknown))


def _hash_or_none(path: Path | None) -> str | None:
    return file_hash(path) if path is not None and is_file(path) else None
