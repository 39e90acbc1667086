"""What earlier calls have written, in the folder of the masks itself: `done/<call>/`, lists of keys, wherever it is.

A key is a hash of all that decides on one mask. Lists hold many keys each, and a folder is listed once: a call over a
million photos asks for thousands of files, not for a million, to know what is left.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from getam.data.places import Entry, inside, read_bytes, write_bytes
from getam.verbs.label_on_ray.worker import Done

FOLDER = "done"
CALL = "call.json"
A_LIST = 1000  # masks; of work that is lost with the caller no more has to be done again
READERS = 16  # threads, for lists in a store far away


def hash_of(facts: object) -> str:
    """sha256 of what JSON makes of plain values."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def key_of(call: str, name: str, tags: Sequence[str], stamps: Sequence[str]) -> str:
    """The key of one mask.

    Args:
        call: `hash_of` what decides on all masks: options, weights, versions.
        name: of the photo.
        tags: its tags.
        stamps: of the files it is made from (`getam.data.places.Entry`).
    """
    return hash_of([call, name, list(tags), list(stamps)])


class Receipts:
    """The lists of one call in a folder of masks.

    Args:
        out: the folder, a place.
        call: `hash_of` what decides on all masks: another call has lists of its own.
        names: `getam.data.collection.names_hash` of all photos.
        there: the listing of `out`.
    """

    def __init__(self, out: str, call: str, names: str, there: Mapping[str, Entry]) -> None:
        self._names = names
        self._out, self._folder, self._there = out, f"{FOLDER}/{call[:16]}", there
        files = [
            entry.place
            for name, entry in there.items()
            if name.startswith(f"{self._folder}/") and name.endswith(".jsonl")
        ]
        with ThreadPoolExecutor(READERS) as pool:
            lines = [
                json.loads(line) for content in pool.map(read_bytes, files) for line in content.splitlines()
            ]
        self._made: dict[str, dict[str, Any]] = {line["key"]: line for line in lines}
        self._sizes: dict[str, set[int]] = {}
        for line in lines:
            self._sizes.setdefault(line["name"], set()).add(line["size"])
        first = there.get(f"{self._folder}/{CALL}")
        said = {} if first is None else json.loads(read_bytes(first.place))
        self._begun = said.get("names_sha256") == names and not said["finished"]
        self._new: list[Done] = []

    def has(self, key: str, mask: str) -> bool:
        """Whether a mask, relative to the folder, is there and as long as it was written for this key."""
        return key in self._made and mask in self._there and self._there[mask].size == self._made[key]["size"]

    def ours(self, name: str, mask: str) -> bool:
        """Whether a mask that is there is one of this call's, and nobody has corrected it.

        It is as long as one that is listed; or none of its name is, and the call was begun for the same photos, when
        nothing was in its way, and is not finished.
        """
        sizes = self._sizes.get(name)
        return self._begun if sizes is None else self._there[mask].size in sizes

    def note(self, call: Mapping[str, Any], *, finished: bool) -> None:
        """Note that the call is begun, or finished, for these photos."""
        said = {"call": dict(call), "names_sha256": self._names, "finished": finished}
        write_bytes(inside(self._out, f"{self._folder}/{CALL}"), json.dumps(said, default=str).encode())

    def add(self, done: Done) -> None:
        """Note a mask that is written; lists that are full are written too."""
        self._new.append(done)
        if len(self._new) >= A_LIST:
            self.write()

    def write(self) -> None:
        """Write what was noted since the last list. Equal lists have equal names."""
        if not self._new:
            return
        kept = ({k: v for k, v in asdict(each).items() if k not in ("error", "mute")} for each in self._new)
        content = "".join(json.dumps(line) + "\n" for line in kept).encode()
        name = f"{self._folder}/{hashlib.sha256(content).hexdigest()[:32]}.jsonl"
        write_bytes(inside(self._out, name), content)
        self._new = []
