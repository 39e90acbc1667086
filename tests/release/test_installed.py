"""What a package needs: made packages whose metadata say what; the answers are worked out by hand."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from installed import needed


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages: a → B.b, c[x], old Python's d; c → with x: e, with y: f; e → a; g is nobody's."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name, requires in {
        "a": ["B.b>=1", "c[x]", "d; python_version < '3'", "h; extra == 'more'", "a[more]; extra == 'all'"],
        "b-b": [],
        "c": ["e; extra == 'x'", "f; extra == 'y'"],
        "e": ["a"],
        "g": [],
        "h": ["g"],
    }.items():
        folder = tmp_path / f"{name.replace('-', '_')}-1.dist-info"
        folder.mkdir()
        lines = [f"Name: {name}", "Version: 1", *(f"Requires-Dist: {each}" for each in requires)]
        (folder / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines, ""]))
    return tmp_path


def test_without_extras_and_with_those_of_others(shelf: Path) -> None:
    assert needed("A") == {"a": {"b-b", "c"}, "b-b": set(), "c": {"e"}, "e": {"a"}}


def test_with_an_extra_that_names_another(shelf: Path) -> None:
    assert set(needed("a", frozenset({"all"}))) == {"a", "b-b", "c", "e", "g", "h"}


def test_what_is_not_there_is_an_error(shelf: Path) -> None:
    with pytest.raises(metadata.PackageNotFoundError, match="f"):
        needed("c", frozenset({"y"}))
