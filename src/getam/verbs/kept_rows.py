"""Results that take hours, kept row by row: a call that is repeated measures only what is not there yet."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

from getam.data.masks import write_atomically
from getam.errors import InputError

Row = TypeVar("Row")


class KeptRows(Generic[Row]):
    """A JSON file with a protocol, the rows measured under it, and what could not be measured.

    Args:
        file: where; what is there is gone on with.
        protocol: what was measured and how. Two rows can be compared when these agree.
        read: a row's fields → the row; raises ValueError, KeyError, TypeError, IndexError or AttributeError for what
            it has not written.
        verb: that writes the file, for messages.
        overwrite: forget what is there.

    Attributes:
        rows: by name, in the order they were measured.
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
    ) -> None:
        self.file, self.protocol = file, protocol
        self.rows: dict[str, Row] = {}
        self.misfits: dict[str, str] = {}
        if file.parent.is_file():
            raise InputError(f"{file.parent} is a file: give a folder with --out")
        if overwrite or not file.is_file():
            return
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
            found = {fields["name"]: read(fields) for fields in before["rows"]}
            old = dict(before["protocol"])
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            raise InputError(
                f"{file} was not written by this version of {verb}: choose another --out, or replace it with"
                " --overwrite"
            ) from None
        if other := _differing(old, json.loads(json.dumps(protocol))):
            raise InputError(
                f"{file} was measured under another protocol ({', '.join(other)} differ): choose another --out, or"
                " replace it with --overwrite"
            )
        self.rows = found

    def write(self) -> None:
        """Protocol, rows and misfits, by an atomic rename; NaN is null."""
        content = {
            "protocol": self.protocol,
            "rows": [asdict(row) for row in self.rows.values()],  # type: ignore[call-overload]
            "not_measured": self.misfits,
        }
        text = json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False)
        write_atomically(self.file, (text + "\n").encode())


def _differing(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Keys that only one of two protocols has, or that have two values."""
    return [key for key in {**new, **old} if key not in old or key not in new or old[key] != new[key]]


def _plain(content: Any) -> Any:
    """As JSON takes it: NaN is null."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_plain(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content
