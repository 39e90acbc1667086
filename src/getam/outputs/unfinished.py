"""The list of what a call has made so far, `unfinished.jsonl` in its folder: there while the call is not finished.

Of a call that several shards are at (`getam.outputs.shards`) each has its own, `unfinished-3-of-16.jsonl`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from getam.data.fingerprint import file_hash
from getam.data.tars import is_file
from getam.outputs.shards import Shard, of_all_shards, of_shard
from getam.whole_files import append_line, write_atomically

UNFINISHED = "unfinished.jsonl"


class Unfinished:
    """What earlier calls and other shards of a call have made in a folder, and what this one adds.

    The first line of a list is the call. Every further one is written just before the results of one photo are: hashes
    of what they are made from, and of what they will be. A result counts as made when both still hold: a photo that was
    replaced is done again, a mask that somebody has corrected is not ours any more. All lists of the call are read, and
    only this process's own is written.

    Args:
        folder: where the results are.
        call: whatever decides on all of them. The lists of other calls are of no use; one that is called as this
            process's own is replaced by the first `begin`.
        shard: this process's part of the call; None: the whole.
    """

    def __init__(self, folder: Path, call: Mapping[str, Any], shard: Shard | None = None) -> None:
        self._folder = folder
        self._call = dict(call)
        self._file = of_shard(folder / UNFINISHED, shard)
        self._begun = False
        lists = {file: _read(file) for file in of_all_shards(folder / UNFINISHED)}
        self._lists = {
            file: lines[1:] for file, lines in lists.items() if lines[:1] == [{"call": self._call}]
        }
        self._made: dict[
            str, list[tuple[str, dict[str, str]]]
        ] = {}  # key → hash of the sources, results → hashes
        self._hashes: dict[str, set[str]] = {}
        for line in (line for lines in self._lists.values() for line in lines):
            self._made.setdefault(line["key"], []).append((line["from"], line["results"]))
            for file, made in line["results"].items():
                self._hashes.setdefault(file, set()).add(made)

    @property
    def begun(self) -> bool:
        """Whether the call has made something before."""
        return bool(self._lists)

    def has(self, key: str, sources: Sequence[Path], facts: str) -> bool:
        """Whether all results of one photo are there, made from these sources and facts, and as they were written."""
        made = self._made.get(key, [])
        if not made or not all(map(is_file, sources)):
            return False
        now = _hash_of(sources, facts)
        return any(
            made_from == now and all(self._is(file, {digest}) for file, digest in results.items())
            for made_from, results in made
        )

    def wrote(self, result: str) -> bool:
        """Whether a result, relative to the folder, is there as this call wrote it."""
        return result in self._hashes and self._is(result, self._hashes[result])

    def begin(self, key: str, sources: Sequence[Path], facts: str, contents: Mapping[str, bytes]) -> None:
        """Note what is going to be written for one photo: relative path → content."""
        if not self._begun:  # anew, with what still counts: the last line may be cut off
            lines = ({"call": self._call}, *self._lists.get(self._file, ()))
            write_atomically(self._file, "".join(json.dumps(line) + "\n" for line in lines).encode())
            self._lists.setdefault(self._file, [])
            self._begun = True
        results = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
        line = {"key": key, "from": _hash_of(sources, facts), "results": results}
        append_line(self._file, json.dumps(line))

    def forget(self) -> None:
        """The call is finished: its lists are removed."""
        for file in self._lists:
            file.unlink(missing_ok=True)

    def _is(self, result: str, digests: set[str]) -> bool:
        file = self._folder / result
        return file.is_file() and file_hash(file) in digests


def _hash_of(sources: Sequence[Path], facts: str) -> str:
    return hashlib.sha256("\n".join([facts, *map(file_hash, sources)]).encode()).hexdigest()


def _is_entry(line: dict[str, Any]) -> bool:
    key, made_from, results = (line.get(name) for name in ("key", "from", "results"))
    if not isinstance(key, str) or not isinstance(made_from, str) or not isinstance(results, dict):
        return False
    return all(isinstance(digest, str) for digest in results.values())


def _read(file: Path) -> list[dict[str, Any]]:
    """Its lines, up to the first that is cut off: what comes after a power cut is of no use."""
    lines: list[dict[str, Any]] = []
    for line in file.read_bytes().splitlines():
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(found, dict) or (lines and not _is_entry(found)):
            break
        lines.append(found)
    return lines
