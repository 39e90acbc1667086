"""One line of the benchmark: what was measured, its bar, and whether it is met; as a table, as JSON, in the docs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True)
class Row:
    """A measured number. `bar` is the largest value allowed, or the smallest where `at_least`; None: no bar.

    `machine` is what it was measured on, and when: rows of a table may have been measured apart.
    """

    piece: str
    what: str
    measured: float
    unit: str = "×"
    bar: float | None = None
    at_least: bool = False
    detail: str = ""
    machine: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None without one."""
        if self.bar is None:
            return None
        return self.measured >= self.bar if self.at_least else self.measured <= self.bar

    @property
    def cells(self) -> list[str]:
        """Columns of the table: what, measured, bar, met, detail."""
        bar = "" if self.bar is None else f"{'≥' if self.at_least else '≤'} {self.bar:g} {self.unit}".strip()
        verdict = {True: "yes", False: "**no**", None: ""}[self.met]
        return [self.what, f"{_short(self.measured)} {self.unit}".strip(), bar, verdict, self.detail]


def markdown(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| | measured | bar | met | |", "|---|---|---|---|---|"]
    return "\n".join(lines + [f"| {' | '.join(row.cells)} |" for row in rows]) + "\n"


def merge(path: Path, fresh: list[Row], measured: Iterable[str]) -> list[Row]:
    """Rows of the file, those of the `measured` pieces replaced by the fresh ones."""
    kept = []
    if path.is_file():
        kept = [
            Row(**{k: v for k, v in row.items() if k != "met"})
            for row in json.loads(path.read_text())["rows"]
        ]
    return [row for row in kept if row.piece not in set(measured)] + fresh


def write_json(path: Path, rows: list[Row]) -> None:
    """Write rows with their verdicts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {"rows": [{**asdict(row), "met": row.met} for row in rows]}
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def write_between_markers(path: Path, text: str) -> None:
    """Replace what stands between the two markers of a Markdown file."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{path} has no lines {BEGIN} and {END}: put them where the table belongs")
    path.write_text(f"{before}{BEGIN}\n{text}{END}{after}")


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
