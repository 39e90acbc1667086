"""Pictures hold every row by name; names do not cover each other."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_bench_table import LABEL, MAP

from getam.report import bench_plots
from getam.report.bench_plots import draw, plotting_missing, spread
from getam.report.bench_table import BenchRow


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
    assert plotting_missing() == (
        "The pictures need matplotlib: pip install 'getam[bench]', then run the same command again."
    )


def figures(monkeypatch: pytest.MonkeyPatch, rows: Sequence[BenchRow], fixed: float = 0.3) -> dict[str, Any]:
    """The figures themselves, before they become SVG."""
    pytest.importorskip("matplotlib", reason="the pictures are an optional extra")
    with monkeypatch.context() as patch:
        patch.setattr(bench_plots, "_svg", lambda figure: figure)
        return draw(rows, fixed)


def ladder(count: int) -> list[BenchRow]:
    """Rows from the worst to the best, 10 % apart in time, one in mIoU."""
    return [
        replace(
            MAP,
            name=f"m{i}",
            miou=0.4 + i / 100,
            cpu_seconds=0.1 * 1.1**i,
            curve=tuple((0.4 + i / 100) * (t + 1) / 99 for t in range(99)),
            thresholds=(0.5, 0.7),
        )
        for i in range(count)
    ]


def texts(axes: Any) -> dict[str, Any]:
    return {text.get_text().strip(): text for text in axes.texts}


def test_curves_are_those_of_the_rows_the_best_on_top_and_solid(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ladder(18)
    axes = figures(monkeypatch, [*rows, replace(LABEL, miou=0.1)], fixed=0.42)["curves.svg"].axes[0]
    curves = [line for line in axes.lines if len(line.get_xdata()) == 99]
    assert len(curves) == 18
    for place, (line, row) in enumerate(zip(curves, rows)):  # drawn from the worst to the best
        np.testing.assert_allclose(line.get_xdata(), np.arange(1, 100) / 100)
        np.testing.assert_allclose(line.get_ydata(), 100 * np.array(row.curve))
        rank = 17 - place
        assert line.get_color() == (bench_plots.COLOURS[rank % 7] if rank < 14 else bench_plots.REST)
        assert line.is_dashed() == (7 <= rank < 14)
        assert line.get_linewidth() == 1.6
    dots = [line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert len(dots) == 18
    for dot, line, row in zip(dots, curves, rows):
        assert list(dot.get_xdata()) == [0.5, 0.7]
        np.testing.assert_allclose(dot.get_ydata(), [100 * row.curve[49], 100 * row.curve[69]])
        assert (dot.get_color(), dot.get_linestyle()) == (line.get_color(), "None")
        assert dot.get_markersize() == 4
    assert [line.get_xdata()[0] for line in axes.lines if list(line.get_xdata()) == [0.42, 0.42]] == [0.42]
    assert texts(axes)["0.42, set beforehand"].get_position()[0] == 0.42
    assert axes.get_xlim() == (0, 1)
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > 100 * 0.57


def test_a_threshold_without_a_score_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    row = replace(ladder(1)[0], curve=(None, *[0.5] * 97, None))
    axes = figures(monkeypatch, [row])["curves.svg"].axes[0]
    (curve,) = [line for line in axes.lines if len(line.get_xdata()) == 99]
    assert np.isnan(curve.get_ydata()).tolist() == [True, *[False] * 97, True]


def test_a_name_belongs_to_its_point(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ladder(3)
    axes = figures(monkeypatch, rows)["tradeoff.svg"].axes[0]
    for row in rows:
        assert texts(axes)[row.name].xy == pytest.approx((1000 * row.cpu_seconds, 100 * row.miou))


def test_names_beside_the_curves_are_in_order_and_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [replace(row, miou=0.5 + i / 10_000) for i, row in enumerate(ladder(5))]
    axes = figures(monkeypatch, rows)["curves.svg"].axes[0]
    names = [texts(axes)[f"m{i}  50.0"] for i in range(5)]
    heights = [name.get_position()[1] for name in names]
    assert all(later - earlier >= 0.045 - 1e-9 for earlier, later in pairwise(heights))
    top = axes.get_ylim()[1]
    assert np.mean(heights) == pytest.approx(50.02 / top, abs=1e-6)
    assert all(name.get_position()[0] == 1.075 for name in names)
    samples = [line for line in axes.lines if list(line.get_xdata()) == [1.02, 1.06]]
    by_height = {round(line.get_ydata()[0], 9): line.get_color() for line in samples}
    assert [by_height[round(height, 9)] for height in heights] == [
        bench_plots.COLOURS[4 - i] for i in range(5)
    ]
    assert all(set(line.get_ydata()) == {line.get_ydata()[0]} and not line.get_clip_on() for line in samples)


def test_points_are_time_against_score_filled_for_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*ladder(3), replace(LABEL, cpu_seconds=2.0, miou=0.6)]
    axes = figures(monkeypatch, rows)["tradeoff.svg"].axes[0]
    points = {tuple(np.round([line.get_xdata()[0], line.get_ydata()[0]], 6)): line for line in axes.lines}
    assert set(points) == {tuple(np.round([1000 * row.cpu_seconds, 100 * row.miou], 6)) for row in rows}
    for row, colour in zip(rows[::-1], bench_plots.COLOURS):  # the label row is the best
        point = points[tuple(np.round([1000 * row.cpu_seconds, 100 * row.miou], 6))]
        assert point.get_color() == colour
        assert point.get_markerfacecolor() == ("white" if row.is_label else colour)
        assert (point.get_marker(), point.get_markersize()) == ("o", 7)
    assert axes.get_xscale() == "log"
    assert len(axes.xaxis.get_minorticklocs()) == 0
    assert set(texts(axes)) == {row.name for row in rows}


@pytest.mark.parametrize(
    ("times", "ticks"),
    [
        ((0.1, 0.4), {100, 120, 150, 200, 250, 300, 400}),
        ((0.5, 0.9), {500, 600, 800}),
        ((0.1, 0.62), {100, 120, 150, 200, 250, 300, 400, 500, 600}),
        ((0.1, 0.8), {100, 200, 500}),
        ((0.1, 40.0), {100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000}),
    ],
)
def test_ticks_are_many_where_times_are_alike(
    monkeypatch: pytest.MonkeyPatch, times: tuple[float, float], ticks: set[int]
) -> None:
    rows = [replace(row, cpu_seconds=seconds) for row, seconds in zip(ladder(2), times)]
    axes = figures(monkeypatch, rows)["tradeoff.svg"].axes[0]
    low, high = axes.get_xlim()
    shown = {round(tick) for tick in axes.get_xticks() if low <= tick <= high}
    assert shown == ticks
    assert axes.xaxis.get_major_formatter()(150.0) == "150"


def boxes_of(figure: Any, axes: Any) -> tuple[list[Any], list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    return [text.get_window_extent(renderer) for text in axes.texts], [
        axes.transData.transform((line.get_xdata()[0], line.get_ydata()[0])) for line in axes.lines
    ]


def test_names_of_points_cover_no_point_and_no_other_name(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        replace(row, name=f"method number {i}", miou=0.5 + 0.001 * (i % 3)) for i, row in enumerate(ladder(8))
    ]
    figure = figures(monkeypatch, rows)["tradeoff.svg"]
    names, points = boxes_of(figure, figure.axes[0])
    assert len(names) == 8
    for place, name in enumerate(names):
        assert not any(name.contains(*point) for point in points)
        assert not any(name.overlaps(other) for other in names[place + 1 :])
        assert name.x1 < figure.axes[0].bbox.x1 + 1
        # beside its own point, not far from it
        x, y = points[place]
        assert abs((name.y0 + name.y1) / 2 - y) <= 25 * figure.dpi / 72
        gap = max(name.x0 - x, x - name.x1) * 72 / figure.dpi
        assert 6 <= gap <= 10


def test_a_lonely_name_stands_right_of_its_point_and_left_of_it_at_the_edge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = ladder(2)
    rows = [first, replace(second, name="a rather long name of a method", cpu_seconds=5.0)]
    figure = figures(monkeypatch, rows)["tradeoff.svg"]
    (right, left), points = boxes_of(figure, figure.axes[0])  # the better row first
    assert right.x1 < points[0][0]
    assert left.x0 > points[1][0]
    for box, point in zip((right, left), points):
        assert (box.y0 + box.y1) / 2 == pytest.approx(point[1], abs=2)


def test_a_row_has_the_same_colour_in_both_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    found = figures(monkeypatch, [ladder(3)[place] for place in (1, 2, 0)])
    curves, points = (found[name].axes[0].lines for name in ("curves.svg", "tradeoff.svg"))
    from_worst = [line.get_color() for line in curves if len(line.get_xdata()) == 99]
    by_score = sorted(points, key=lambda line: line.get_ydata()[0])
    assert from_worst == [line.get_color() for line in by_score]


def test_the_pictures_say_what_they_show(monkeypatch: pytest.MonkeyPatch) -> None:
    found = figures(monkeypatch, ladder(2))
    curves, points = (found[name].axes[0] for name in ("curves.svg", "tradeoff.svg"))
    for axes in (curves, points):
        assert axes.xaxis.label.get_color() == axes.title.get_color() == bench_plots.INK
        assert tuple(axes.figure.get_size_inches()) == (8, 4.8)
        assert {side for side, spine in axes.spines.items() if spine.get_visible()} == {"left", "bottom"}
    assert "background threshold" in curves.get_xlabel()
    assert curves.get_title(loc="left") == "mIoU in % of maps at every threshold"
    assert "CPU milliseconds a photo" in points.get_xlabel()
    assert points.get_title(loc="left") == "mIoU in % against time; filled: maps, open: labels"


def test_rows_without_a_time_or_a_score_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = ladder(2)
    rows = [first, replace(second, cpu_seconds=None), replace(second, name="nan", miou=math.nan)]
    found = figures(monkeypatch, [*rows, replace(second, name="none", miou=None)])
    assert set(texts(found["tradeoff.svg"].axes[0])) == {"m0"}
    assert {"m0  40.0", "m1  41.0"} < set(texts(found["curves.svg"].axes[0]))
    assert len([line for line in found["curves.svg"].axes[0].lines if len(line.get_xdata()) == 99]) == 2
