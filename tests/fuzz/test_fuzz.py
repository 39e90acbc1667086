"""Damaged files are read, or refused in words: what once broke, and new ones in every run (fuzz.py: many thousands)."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from damage import WAYS, damaged
from hypothesis import given, settings
from hypothesis import strategies as st
from targets import Target, targets

from fuzz import CORPUS, SECONDS, tried
from getam.errors import InputError

SCRATCH = tempfile.TemporaryDirectory()
TARGETS = targets(Path(SCRATCH.name))


@pytest.mark.parametrize("name", TARGETS)
def test_whole_files_are_read(name: str, tmp_path: Path) -> None:
    for number, seed in enumerate(TARGETS[name].seeds):
        assert TARGETS[name](tmp_path / str(number), seed) == ""


@pytest.mark.parametrize(
    "file", sorted(CORPUS.glob("*/*")), ids=lambda file: f"{file.parent.name}-{file.name}"
)
def test_what_once_broke_is_read_or_refused(file: Path) -> None:
    assert tried(TARGETS[file.parent.name], file.read_bytes()) is None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=12, deadline=None)
@given(draw=st.randoms(use_true_random=False))
def test_damaged_files_are_read_or_refused(name: str, draw: random.Random) -> None:
    assert tried(TARGETS[name], damaged(TARGETS[name].seeds, draw)) is None


def test_damage_changes_files_in_every_way() -> None:
    seeds = (bytes(range(256)) * 3, b"other")
    found = [damaged(seeds, random.Random(number)) for number in range(200)]
    assert len(set(found)) > 150
    assert len({len(each) for each in found}) > 50
    for way in WAYS:
        data = bytearray(seeds[0])
        way(data, random.Random(0))
        assert bytes(data) != seeds[0]


def test_a_defect_is_told_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Path) -> None:
        raise KeyError("x")

    def wordless(_: Path) -> None:
        raise InputError("")

    assert tried(Target("a", (), broken, {}), b"") == "KeyError at no line of ours: 'x'"
    assert "an error without words" in str(tried(Target("a", (), wordless, {}), b""))
    monkeypatch.setattr("fuzz.SECONDS", 1)
    assert SECONDS == 10

    def endless(_: Path) -> None:
        while True:
            pass

    assert tried(Target("a", (), endless, {}), b"") == "longer than 1 seconds"
