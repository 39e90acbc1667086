"""Plots, read back as XML: where lines and bars lie against their axes, and what they say in words."""

import math
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from getam.report.palette import LINE_COLOURS
from getam.report.plots import Bar, bar_plot, line_plot, ticks


def texts(svg, anchor=""):
    """Text → place, of those aligned so: "end" are the numbers of the upright axis, "middle" of the other one."""
    found = (text for text in svg.iter("text") if anchor in ("", text.get("text-anchor")))
    return {text.text: (float(text.get("x")), float(text.get("y"))) for text in found}


def points(svg):
    return [
        [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
        for line in svg.iter("polyline")
    ]


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 9))
def test_ticks_are_round_even_and_few(low, span, most):
    high = low + span
    found = ticks(low, high, most)
    assert 1 <= len(found) <= most
    tolerance = 1e-6 * max(span, abs(low) * 1e-9)
    assert all(low - span * 1e-6 - tolerance <= tick <= high + span * 1e-6 + tolerance for tick in found)
    steps = [b - a for a, b in pairwise(found)]
    for step in steps:
        assert math.isclose(step, steps[0], rel_tol=1e-3)
        digits = step / 10 ** math.floor(math.log10(step) + 1e-6)
        assert min(abs(digits - each) for each in (1, 2, 5, 10)) < 0.02


def test_ticks_of_nothing():
    assert ticks(3, 3) == [3]


def test_lines_lie_where_the_axes_say():
    svg = ET.fromstring(
        line_plot("Loss", {"cls": [(0, 1.0), (100, 0.5)], "fg": [(50, 0.25)]}, x_label="step", highest=1)
    )
    upright, said, (cls, fg) = texts(svg, "end"), texts(svg, "middle"), points(svg)
    zero, one = upright["0"][1] - 4, upright["1"][1] - 4  # numbers stand 4 below their line
    assert cls[0][1] == pytest.approx(one, abs=0.1)
    assert cls[1][1] == pytest.approx((zero + one) / 2, abs=0.1)
    assert fg[0][1] == pytest.approx(zero + (one - zero) / 4, abs=0.1)
    assert cls[1][0] == pytest.approx(said["100"][0], abs=0.1)
    assert cls[0][0] == pytest.approx(2 * said["50"][0] - said["100"][0], abs=0.2)
    assert fg[0][0] == pytest.approx((cls[0][0] + cls[1][0]) / 2, abs=0.1)
    assert said["step"][1] > said["100"][1] > zero
    assert [line.get("stroke") for line in svg.iter("polyline")] == list(LINE_COLOURS[:2])
    assert "cls 0.5" in texts(svg, "start")
    assert svg.get("aria-label") == "Loss: cls from 1 to 0.5; fg from 0.25 to 0.25"
    assert svg.get("role") == "img"


def test_the_axis_reaches_the_highest_point_and_what_lies_below_zero():
    svg = ET.fromstring(line_plot("Loss", {"dense": [(1, -2.0), (9, 8.0)]}, x_label="step"))
    (line,) = points(svg)
    said = texts(svg, "end")
    assert said["-2"][1] - 4 == pytest.approx(line[0][1], abs=0.1)
    assert said["8"][1] - 4 == pytest.approx(line[1][1], abs=0.1)
    assert line[1][1] >= 30


def test_a_flat_line_of_zeros_and_one_step_are_drawn():
    svg = ET.fromstring(line_plot("Loss", {"fg": [(0, 0.0)]}, x_label="step"))
    (((x, y),),) = points(svg)
    assert math.isfinite(x)
    assert y == pytest.approx(texts(svg, "end")["0"][1] - 4, abs=0.1)


def test_more_lines_than_colours_are_dashed():
    lines = {f"l{number}": [(1, number)] for number in range(8)}
    drawn = list(ET.fromstring(line_plot("Loss", lines, x_label="step")).iter("polyline"))
    looks = [(line.get("stroke"), line.get("stroke-dasharray")) for line in drawn]
    assert len(set(looks)) == 8
    assert looks[6] == (LINE_COLOURS[0], "5 3")
    assert looks[0] == (LINE_COLOURS[0], None)


def test_names_at_the_ends_do_not_touch():
    svg = ET.fromstring(
        line_plot("Loss", {"a": [(1, 0.5)], "b": [(1, 0.5)], "c": [(1, 0.51)]}, x_label="step")
    )
    heights = sorted(y for text, (_, y) in texts(svg).items() if text[0] in "abc")
    assert min(b - a for a, b in pairwise(heights)) > 12.9


def test_bars_are_as_long_as_their_axis_says():
    bars = [Bar("cat", 0.5, (0.25, 0.75), colour="#123456"), Bar("dog", None), Bar("cow", 1.0, note="of 7")]
    svg = ET.fromstring(bar_plot("IoU", bars))
    said = texts(svg)
    zero, one = said["0"][0], said["1"][0]
    cat, cow = svg.iter("rect")
    assert float(cat.get("x")) == pytest.approx(zero, abs=0.1)
    assert float(cat.get("width")) == pytest.approx((one - zero) / 2, abs=0.1)
    assert float(cow.get("width")) == pytest.approx(one - zero, abs=0.1)
    assert cat.get("fill") == "#123456"
    (whisker,) = (found.get("d") for found in svg.iter("path") if found.get("class") == "whisker")
    assert whisker.startswith(f"M{zero + (one - zero) / 4:.1f},")
    assert f"H{zero + 3 * (one - zero) / 4:.1f}" in whisker
    assert {"0.50", "–", "1.00 of 7"} <= said.keys()
    assert said["cat"][1] < said["dog"][1] < said["cow"][1]
    assert svg.get("aria-label") == "IoU: cat 0.50; dog –; cow 1.00 of 7"


def test_counts_are_whole_numbers_on_an_axis_of_their_own():
    svg = ET.fromstring(bar_plot("Photos", [Bar("cat", 1500), Bar("dog", 3000)], highest=3000))
    cat, dog = (float(bar.get("width")) for bar in svg.iter("rect"))
    assert cat == pytest.approx(dog / 2, abs=0.1)
    assert {"1,500", "3,000"} <= texts(svg).keys()


def test_names_are_escaped_and_long_ones_cut():
    nasty = "<b>&\"' " + "x" * 30
    svg = ET.fromstring(bar_plot(nasty, [Bar(nasty, 0.5)]))
    assert svg.get("aria-label").startswith(nasty)
    assert f"{nasty[:17]}…" in texts(svg)
    assert nasty in texts(svg)
