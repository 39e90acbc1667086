"""The pictures of `getam bench`: threshold curves, and mIoU against time; matplotlib, an optional extra."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from getam.metrics.thresholds import DEFAULT_THRESHOLDS
from getam.report.bench_table import BenchRow
from getam.report.palette import LINE_COLOURS

CURVES, TRADEOFF = "curves.svg", "tradeoff.svg"
COLOURS = (*LINE_COLOURS, "#000000")
LINES = ("-", (0, (4, 1.5)))  # the best rows solid, the next ones dashed in the same colours
REST = "#A0A0A0"  # rows beyond both
LABEL_SIZE = 9
INK, FAINT = "#333333", "#DDDDDD"
STYLE = {
    "font.size": 10, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": REST, "xtick.color": INK,
    "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "getam",
}  # fmt: skip


Look = tuple[str, Any]  # colour, line
Box = tuple[float, float, float, float]  # left, low, right, high in pixels


def plotting_missing() -> str | None:
    """What to install for the pictures, or None where it is there."""
    if find_spec("matplotlib") is None:
        return "The pictures need matplotlib: pip install 'getam[bench]', then run the same command again."
    return None


def draw(rows: Sequence[BenchRow], fixed: float) -> dict[str, bytes]:
    """File name → SVG, of the pictures there are rows for."""
    import matplotlib

    ranked = sorted((r for r in rows if r.miou is not None and r.miou == r.miou), key=lambda r: -r.miou)
    pens = [(colour, line) for line in LINES for colour in COLOURS]
    looks = {row.name: pens[i] if i < len(pens) else (REST, "-") for i, row in enumerate(ranked)}
    pictures: dict[str, bytes] = {}
    with matplotlib.rc_context(STYLE):
        if curved := [row for row in ranked if row.curve is not None]:
            pictures[CURVES] = _curves(curved, looks, fixed)
        if timed := [row for row in ranked if row.cpu_seconds is not None]:
            pictures[TRADEOFF] = _tradeoff(timed, looks)
    return pictures


def _curves(rows: Sequence[BenchRow], looks: Mapping[str, Look], fixed: float) -> bytes:
    """mIoU against threshold; a dot on each curve at the two thresholds the halves chose for each other."""
    figure, axes = _axes()
    for row in reversed(rows):  # the best on top
        curve = [math.nan if value is None else 100 * value for value in row.curve or ()]
        colour, line = looks[row.name]
        axes.plot(DEFAULT_THRESHOLDS, curve, color=colour, linestyle=line, linewidth=1.6)
        chosen = [curve[DEFAULT_THRESHOLDS.index(t)] for t in row.thresholds or ()]
        axes.plot(row.thresholds or (), chosen, "o", color=colour, markersize=4)
    axes.set(xlim=(0, 1), ylim=(0, None))
    axes.axvline(fixed, color=REST, linewidth=0.8, linestyle=(0, (2, 3)), zorder=0)
    axes.text(fixed, 0.5, f" {fixed:g}, set beforehand", va="bottom", fontsize=8)
    axes.set_xlabel("background threshold (dots: chosen by one half of the photos for the other)")
    axes.set_title("mIoU in % of maps at every threshold", loc="left", fontsize=11)
    _label_beside(axes, rows, looks)
    return _svg(figure)


def _label_beside(axes: Any, rows: Sequence[BenchRow], looks: Mapping[str, Look]) -> None:
    """Line, name and score right of the axes, near their heights, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    ordered = sorted(rows, key=lambda row: row.miou)
    for row, height in zip(ordered, spread([100 * row.miou for row in ordered], (high - low) * 0.045)):
        colour, line = looks[row.name]
        share = (height - low) / (high - low)
        axes.plot((1.02, 1.06), (share, share), color=colour, linestyle=line, linewidth=1.6,
                  transform=axes.transAxes, clip_on=False)  # fmt: skip
        axes.text(
            1.075,
            share,
            f"{row.name}  {100 * row.miou:.1f}",
            transform=axes.transAxes,
            va="center",
            fontsize=9,
        )


def _tradeoff(rows: Sequence[BenchRow], looks: Mapping[str, Look]) -> bytes:
    """mIoU against CPU milliseconds a photo, logarithmic; filled for maps, open for labels."""
    from matplotlib.ticker import LogLocator

    figure, axes = _axes()
    for row in rows:
        colour = looks[row.name][0]
        fill = "white" if row.is_label else colour
        axes.plot(
            1000 * row.cpu_seconds, 100 * row.miou, "o", color=colour, markerfacecolor=fill, markersize=7
        )
    axes.set_xscale("log")
    axes.margins(x=0.1, y=0.12)
    axes.set_xlabel("CPU milliseconds a photo: median, logarithmic")
    axes.set_title("mIoU in % against time; filled: maps, open: labels", loc="left", fontsize=11)
    marks = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8) if _spans_little(axes.get_xlim()) else (1, 2, 5)
    axes.xaxis.set_major_locator(LogLocator(subs=marks))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    _label_points(figure, axes, rows)
    return _svg(figure)


def _spans_little(limits: tuple[float, float]) -> bool:
    return math.log10(limits[1] / limits[0]) < 1


def _label_points(figure: Any, axes: Any, rows: Sequence[BenchRow]) -> None:
    """Each name beside its point, at the first place where it covers no point and no other name; in points."""
    figure.canvas.draw()  # settles the limits
    point = 72 / figure.dpi
    centres = [axes.transData.transform((1000 * row.cpu_seconds, 100 * row.miou)) * point for row in rows]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in centres]
    edge = axes.bbox.x1 * point
    for row, (x, y) in zip(rows, centres):
        width, height = 0.62 * LABEL_SIZE * len(row.name), 1.15 * LABEL_SIZE
        offsets = [(dx, dy) for dy in (0, 8, -8, 16, -16, 24, -24) for dx in (8, -8)]
        boxes = [
            (x + dx - width * (dx < 0), y + dy - height / 2, x + dx + width * (dx > 0), y + dy + height / 2)
            for dx, dy in offsets
        ]
        free = (
            n
            for n, box in enumerate(boxes)
            if box[2] < edge and not any(_overlap(box, other) for other in taken)
        )
        place = next(free, 0)
        taken.append(boxes[place])
        axes.annotate(
            row.name,
            xy=(1000 * row.cpu_seconds, 100 * row.miou),
            xytext=offsets[place],
            textcoords="offset points",
            ha="left" if offsets[place][0] > 0 else "right",
            va="center",
            fontsize=LABEL_SIZE,
        )


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _axes() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8))
    axes = figure.subplots()
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights, rising, moved as little as possible (least squares) until neighbours are `gap` apart.

    Isotonic regression of heights[i] − i · gap by pooling neighbours that are in the wrong order.

    >>> spread([0.0, 0.0, 5.0], 1.0)
    [-0.5, 0.5, 5.0]
    """
    pools: list[tuple[float, int]] = []  # mean, size
    for place, height in enumerate(heights):
        mean, size = height - place * gap, 1
        while pools and pools[-1][0] > mean:
            other, count = pools.pop()
            mean, size = (mean * size + other * count) / (size + count), size + count
        pools.append((mean, size))
    flat = [mean for mean, size in pools for _ in range(size)]
    return [value + place * gap for place, value in enumerate(flat)]


def _svg(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    return buffer.getvalue()
