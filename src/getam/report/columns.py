"""Tables of measured rows in Markdown: the best of a column in bold, intervals behind numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        heading: of it; what is in braces is filled in when the table is made.
        attribute: of a row; None or NaN are shown as a dash.
        scale, digits: how the number is shown.
        best: max, min, or None where neither is better.
        interval: attribute that holds both ends; "" for none.
        sign: show + and −.
        compares: the column says how a row differs from the one measured first, and is left out where there is none.
    """

    heading: str
    attribute: str
    scale: float = 100
    digits: int = 1
    best: Any = None
    interval: str = ""
    sign: bool = False
    compares: bool = False


def table(rows: Sequence[Any], columns: Sequence[Column], said: Mapping[str, Any], by: str = "miou") -> str:
    """Rows, each with a name, those with the highest value first.

    Args:
        rows: in any order.
        columns: from left to right.
        said: fills the headings; "reference" is the row that others are compared to, or None.
        by: attribute whose value that is.
    """
    columns = [column for column in columns if said["reference"] or not column.compares]
    order = sorted(rows, key=lambda row: _known(getattr(row, by)) or 0.0, reverse=True)
    headings = [column.heading.format(**said) for column in columns]
    lines = ["| |" + "|".join(headings) + "|", "|---|" + "---:|" * len(columns)]
    best = {column.attribute: _best(order, column) for column in columns}
    for row in order:
        cells = []
        for column in columns:
            shown = _shown(getattr(row, column.attribute), column)
            ends = getattr(row, column.interval) if column.interval else None
            cells.append((f"**{shown}**" if shown == best[column.attribute] else shown) + _ends(ends, column))
        lines.append(f"|`{row.name}`|" + "|".join(cells) + "|")
    return "\n".join(lines) + "\n"


def _best(rows: Sequence[Any], column: Column) -> str | None:
    """The best value as shown; None where nothing is better than anything else."""
    values = [v for row in rows if (v := _known(getattr(row, column.attribute))) is not None]
    if not column.best or len({_shown(value, column) for value in values}) < 2:
        return None
    return _shown(column.best(values), column)


def _shown(value: float | None, column: Column) -> str:
    known = _known(value)
    if known is None:
        return "—"
    return f"{known * column.scale:{'+' if column.sign else ''}.{column.digits}f}".replace("-", "−")


def _ends(interval: Sequence[float] | None, column: Column) -> str:
    """As shown behind a number; nothing where there is no interval."""
    return "" if interval is None else f" [{', '.join(_shown(end, column) for end in interval)}]"


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
