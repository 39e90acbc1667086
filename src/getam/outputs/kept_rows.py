"""Results that take hours, kept row by row: a call that is repeated measures only what is not there yet."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

from getam.errors import GetamError, InputError
from getam.outputs.progress import say
from getam.outputs.shards import Shard, of_all_shards, of_shard
from getam.whole_files import write_atomically

Row = TypeVar("Row")


class KeptRows(ABC, Generic[Row]):
    """A JSON file with a protocol, the rows measured under it, and what could not be measured; a page that shows them.

    Args:
        file: where; what is there is gone on with.
        protocol: what was measured and how. Two rows can be compared when these agree.
        read: a row's fields → the row; raises ValueError, KeyError, TypeError, IndexError or AttributeError for what
            it has not written.
        verb: that writes the file, for messages.
        overwrite: forget what is there.
        shard: which keeps its rows in a file of its own; None: the whole call.

    Attributes:
        rows: by name, in the order they were measured.
        others: rows by name that are in the files of other shards, or of the whole call.
        misfits: name of a row → the sentence why it could not be measured.

    Raises:
        InputError: the file is another version's, or of another protocol.
    """

    def __init__(
        self,
        file: Path,
        protocol: Mapping[str, Any],
        read: Callable[[dict[str, Any]], Row],
        *,
        verb: str,
        overwrite: bool,
        shard: Shard | None = None,
    ) -> None:
        self.file, self.protocol, self._shard = of_shard(file, shard), protocol, shard
        self.rows: dict[str, Row] = {}
        self.others: dict[str, Row] = {}
        self.misfits: dict[str, str] = {}
        if file.parent.is_file():
            raise InputError(f"{file.parent} is a file: give a folder with --out")
        if overwrite and shard is not None:
            raise InputError("--overwrite would forget what other shards measure: give a new --out to shards")
        self._parts = of_all_shards(file)
        for part in () if overwrite else self._parts:
            (self.rows if part == self.file else self.others).update(self._read(part, read, verb))

    def _read(self, file: Path, read: Callable[[dict[str, Any]], Row], verb: str) -> dict[str, Row]:
        """The rows of a file."""
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
            found = {fields["name"]: read(fields) for fields in before["rows"]}
            old = dict(before["protocol"])
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            raise InputError(
                f"{file} was not written by this version of {verb}: choose another --out, or replace it with"
                " --overwrite"
            ) from None
        if other := _differing(old, json.loads(json.dumps(self.protocol))):
            raise InputError(
                f"{file} was measured under another protocol ({', '.join(other)} differ): choose another --out, or"
                " replace it with --overwrite"
            )
        return found

    @abstractmethod
    def compared(self, row: Row, first: Row) -> Row:
        """The row with its difference to the one that was measured first."""

    @abstractmethod
    def page(self) -> str:
        """What people read, as Markdown; it lies beside the JSON file, by the same name."""

    def draw(self) -> str | None:
        """Draw what the page shows, once all rows are there; the sentence why something could not be drawn, if so."""
        return None

    def fill(
        self,
        names: Sequence[str],
        measure: Callable[[str, str], Row],
        *,
        together: Callable[[str], object] = str,
    ) -> None:
        """Measure those of the rows that are not there yet, each kept as soon as it is measured.

        A row that cannot be measured is a misfit, and the others go on. A shard measures its part of the rows; the
        whole call takes what shards have measured, rows nobody names here included, and ends what they left.

        Args:
            names: of all rows, in the order of the table.
            measure: a row's name, and what is said of it ("getam (2 of 3)") → the row.
            together: a row's name → what it has in common with the rows that go to the same shard.
        """
        whole = self._shard is None
        if self._shard is not None:
            its = set(self._shard.part(list(dict.fromkeys(map(together, names)))))
            names = [name for name in names if together(name) in its]
        todo = [name for name in names if name not in self.rows]
        extra = [name for name in self.others if whole and name not in {*names, *self.rows}]
        for number, name in enumerate((*todo, *extra), start=1):
            try:
                row = self.others.get(name) or measure(name, f"{name} ({number} of {len(todo)})")
            except GetamError as error:  # some needs show only on a photo
                self.misfits[name] = str(error)
            else:
                first = next(iter(self.rows.values()), None)  # a shard does not know which that will be
                self.rows[name] = self.compared(row, first) if whole and first is not None else row
            self.write()
            if whole:
                self._write_page(None)
        if whole:
            missing = self.draw()
            self._write_page(missing)
            if missing is not None:
                say(missing)
            for part in self._parts:  # what shards have kept is in the file of the whole call
                if part != self.file:
                    part.unlink(missing_ok=True)

    def _write_page(self, last: str | None) -> None:
        text = self.page() if last is None else f"{self.page()}\n{last}\n"
        write_atomically(self.file.with_suffix(".md"), text.encode())

    def write(self) -> None:
        """Protocol, rows and misfits, by an atomic rename; NaN is null."""
        content = {
            "protocol": self.protocol,
            "rows": [asdict(row) for row in self.rows.values()],  # type: ignore[call-overload]
            "not_measured": self.misfits,
        }
        text = json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(self.file, (text + "\n").encode())


def _differing(old: dict[str, Any], new: dict[str, Any], under: str = "") -> list[str]:
    """Keys that only one of two protocols has, or that have two values; those of a table in a table after a dot."""
    found = []
    for key in {**new, **old}:
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += _differing(before, now, f"{under}{key}.")
        elif key not in old or key not in new or before != now:
            found.append(f"{under}{key}")
    return found


def _plain(content: Any) -> Any:
    """As JSON takes it: NaN is null."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_plain(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content
