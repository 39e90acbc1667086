"""The list of what a call has made so far, `unfinished.jsonl` in its folder: there while the call is not finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from getam.data.fingerprint import file_hash
from getam.data.masks import append_line, write_atomically

UNFINISHED = "unfinished.jsonl"


class Unfinished:
    """What an earlier call like this one has made in a folder, and what this one adds.

    The first line is the call. Every further one is written just before the results of one photo are: hashes of what
    they are made from, and of what they will be. A result counts as made when both still hold: a photo that was
    replaced is done again, a mask that somebody has corrected is not ours any more.

    Args:
        folder: where the results are.
        call: whatever decides on all of them. The list of another call is of no use, and replaced by the first `begin`.
    """

    def __init__(self, folder: Path, call: Mapping[str, Any]) -> None:
        self._folder = folder
        self._file = folder / UNFINISHED
        self._call = dict(call)
        self._made: dict[str, tuple[str, dict[str, str]]] = {}  # key → hash of the sources, results → hashes
        self._begun = False
        lines = _read(self._file)
        if lines and lines[0] == {"call": self._call}:
            self._made = {line["key"]: (line["from"], line["results"]) for line in lines[1:]}
        self._hashes = {file: made for _, results in self._made.values() for file, made in results.items()}

    def has(self, key: str, sources: Sequence[Path], facts: str) -> bool:
        """Whether all results of one photo are there, made from these sources and facts, and as they were written."""
        if key not in self._made or not all(source.is_file() for source in sources):
            return False
        made_from, results = self._made[key]
        return all(map(self.wrote, results)) and made_from == _hash_of(sources, facts)

    def wrote(self, result: str) -> bool:
        """Whether a result, relative to the folder, is there as an earlier call wrote it."""
        file = self._folder / result
        return result in self._hashes and file.is_file() and file_hash(file) == self._hashes[result]

    def begin(self, key: str, sources: Sequence[Path], facts: str, contents: Mapping[str, bytes]) -> None:
        """Note what is going to be written for one photo: relative path → content."""
        if not self._begun:  # anew, with what still counts: the last line may be cut off
            kept = [{"key": k, "from": m, "results": r} for k, (m, r) in self._made.items()]
            lines = [json.dumps(line) + "\n" for line in ({"call": self._call}, *kept)]
            write_atomically(self._file, "".join(lines).encode())
            self._begun = True
        results = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
        line = {"key": key, "from": _hash_of(sources, facts), "results": results}
        append_line(self._file, json.dumps(line))

    def forget(self) -> None:
        """The call is finished."""
        self._file.unlink(missing_ok=True)


def _hash_of(sources: Sequence[Path], facts: str) -> str:
    return hashlib.sha256("\n".join([facts, *map(file_hash, sources)]).encode()).hexdigest()


def _read(file: Path) -> list[dict[str, Any]]:
    """Its lines, up to the first that is cut off: what comes after a power cut is of no use."""
    lines: list[dict[str, Any]] = []
    if not file.is_file():
        return lines
    for line in file.read_bytes().splitlines():
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(found, dict) or (lines and not found.keys() >= {"key", "from", "results"}):
            break
        lines.append(found)
    return lines
