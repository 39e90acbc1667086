"""Rows that are kept one by one, against what was asked for, in calls that end, fail, or share the rows."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from getam.errors import InputError
from getam.outputs.kept_rows import KeptRows, _differing
from getam.outputs.shards import Shard


@dataclass(frozen=True)
class Row:
    name: str
    value: int
    compared_to: str | None = None


class Table(KeptRows[Row]):
    """Rows that say which one they are compared to, and a page that says how many there are; nothing can be drawn."""

    def __init__(self, folder: Path, shard: Shard | None = None, **options: Any) -> None:
        given: dict[str, Any] = {"protocol": {"size": 3}, "overwrite": False, **options}
        super().__init__(
            folder / "t.json", read=lambda fields: Row(**fields), verb="getam t", shard=shard, **given
        )
        self.pages: list[tuple[bool, list[str]]] = []
        self.drawn = False

    def compared(self, row: Row, first: Row) -> Row:
        return replace(row, compared_to=first.name)

    def page(self) -> str:
        self.pages.append((self.drawn, list(self.rows)))
        return f"{len(self.rows)} rows\n"

    def draw(self) -> str | None:
        self.drawn = True
        return "no pen"


class Measuring:
    """Measures a row as the number of those before; fails at some."""

    def __init__(self, *fails: str) -> None:
        self.said, self.fails = list[str](), fails

    def __call__(self, name: str, what: str) -> Row:
        if name in self.fails:
            raise InputError(f"{name} does not fit")
        self.said.append(what)
        return Row(name, len(self.said))


def kept(folder: Path, file: str = "t.json") -> dict[str, Any]:
    return json.loads((folder / file).read_text())


def test_rows_that_go_together_are_one_shards(tmp_path: Path) -> None:
    measure = Measuring()
    Table(tmp_path, Shard(1, 2)).fill(["a1", "b1", "a2", "c1"], measure, together=lambda name: name[0])
    assert [said.split()[0] for said in measure.said] == ["a1", "a2", "c1"]


def test_rows_are_kept_in_order_each_with_its_difference_and_what_fails_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure = Measuring("b")
    table = Table(tmp_path)
    table.fill(["a", "b", "c"], measure)
    assert measure.said == ["a (1 of 3)", "c (3 of 3)"]
    content = kept(tmp_path)
    assert content["rows"] == [
        {"name": "a", "value": 1, "compared_to": None},
        {"name": "c", "value": 2, "compared_to": "a"},
    ]
    assert content["not_measured"] == {"b": "b does not fit"}
    assert table.pages == [(False, ["a"]), (False, ["a"]), (False, ["a", "c"]), (True, ["a", "c"])]
    assert (tmp_path / "t.md").read_text() == "2 rows\n\nno pen\n"
    assert capsys.readouterr().err == "no pen\n"
    again = Measuring()
    Table(tmp_path).fill(["a", "b", "c"], again)
    assert again.said == ["b (1 of 1)"]
    assert [row["name"] for row in kept(tmp_path)["rows"]] == ["a", "c", "b"]


def test_a_row_is_on_the_disk_before_the_next_is_measured(tmp_path: Path) -> None:
    def stop(name: str, what: str) -> Row:
        if name == "b":
            raise KeyboardInterrupt
        return Row(name, 1)

    with pytest.raises(KeyboardInterrupt):
        Table(tmp_path).fill(["a", "b"], stop)
    assert [row["name"] for row in kept(tmp_path)["rows"]] == ["a"]


def test_shards_keep_rows_apart_and_the_whole_call_takes_them_all(tmp_path: Path) -> None:
    shard = Table(tmp_path, Shard(2, 2))
    shard.fill(["a", "b", "c", "x"], Measuring())
    assert shard.pages == []
    assert kept(tmp_path, "t-2-of-2.json")["rows"][1] == {"name": "x", "value": 2, "compared_to": None}
    assert not (tmp_path / "t.json").exists()
    measure = Measuring()
    Table(tmp_path).fill(["a", "b"], measure)
    assert measure.said == ["a (1 of 2)"]
    assert [(row["name"], row["compared_to"]) for row in kept(tmp_path)["rows"]] == [
        ("a", None), ("b", "a"), ("x", "a"),
    ]  # fmt: skip
    assert sorted(file.name for file in tmp_path.iterdir()) == ["t.json", "t.md"]
    later = Table(tmp_path, Shard(1, 2))
    later.fill(["a", "b", "c"], measure)
    assert measure.said == ["a (1 of 2)", "c (2 of 2)"]  # a is there, and is taken over
    with pytest.raises(InputError, match="--overwrite would forget what other shards measure"):
        Table(tmp_path, Shard(1, 2), overwrite=True)


def test_what_differs_is_named_down_to_the_entry() -> None:
    old = {
        "steps": 3,
        "gone": 1,
        "environment": {"python": "3.11", "versions": {"torch": "2.6", "timm": "1"}},
        "none": {},
    }
    new = {
        "steps": 4,
        "environment": {"python": "3.11", "versions": {"torch": "2.7", "onnx": "1", "timm": "1"}},
        "none": None,
    }
    assert sorted(_differing(old, new)) == [
        "environment.versions.onnx", "environment.versions.torch", "gone", "none", "steps"
    ]  # fmt: skip
    assert _differing(old, old) == []
