"""Pictures hold every row by name; names do not cover each other."""

import math
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_bench_table import LABEL, MAP

from getam.report.bench_plots import draw, plotting_missing, spread


@given(
    heights=st.lists(st.floats(-100, 100), max_size=8).map(sorted),
    gap=st.floats(0.1, 5),
)
def test_spread_keeps_the_gap_and_the_middle(heights: list[float], gap: float) -> None:
    moved = spread(heights, gap)
    assert all(b - a >= gap - 1e-9 for a, b in pairwise(moved))
    assert sum(moved) == pytest.approx(sum(heights), abs=1e-6)
    if all(b - a >= gap for a, b in pairwise(heights)):
        assert moved == pytest.approx(heights)


def test_both_pictures_are_svg_and_the_same_every_time() -> None:
    pytest.importorskip("matplotlib", reason="the pictures are an optional extra")
    curve = tuple(0.5 - (i / 99 - 0.4) ** 2 for i in range(99))
    rows = [
        replace(
            MAP,
            name=f"method{i}",
            curve=(math.nan, *curve[1:]),
            miou=0.4 + i / 100,
            cpu_seconds=0.01 + i / 50,
        )
        for i in range(16)
    ]
    pictures = draw([*rows, LABEL], fixed=0.3)
    assert sorted(pictures) == ["curves.svg", "tradeoff.svg"]
    for picture in pictures.values():
        assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert draw([*rows, LABEL], fixed=0.3) == pictures


def test_nothing_to_draw_is_no_picture() -> None:
    pytest.importorskip("matplotlib", reason="the pictures are an optional extra")
    assert draw([], fixed=0.3) == {}
    assert draw([replace(MAP, miou=math.nan)], fixed=0.3) == {}
    assert sorted(draw([LABEL], fixed=0.3)) == ["tradeoff.svg"]


def test_what_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getam.report.bench_plots.find_spec", lambda name: None)
    assert "pip install 'getam[bench]'" in str(plotting_missing())
