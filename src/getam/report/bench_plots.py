"""The pictures of `getam bench`: threshold curves, and mIoU against time; matplotlib, an optional extra."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from getam.metrics.thresholds import DEFAULT_THRESHOLDS
from getam.report.bench_table import BenchRow

CURVES, TRADEOFF = "curves.svg", "tradeoff.svg"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which colour-blind people tell apart; without yellow, which is faint on white."""
REST = "#A0A0A0"  # rows beyond the colours
INK, FAINT = "#333333", "#DDDDDD"
STYLE = {
    "font.size": 10, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": REST, "xtick.color": INK,
    "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "getam",
}  # fmt: skip


def plotting_missing() -> str | None:
    """What to install for the pictures, or None where it is there."""
    if find_spec("matplotlib") is None:
        return "The pictures need matplotlib: pip install 'getam[bench]', then run the same command again."
    return None


def draw(rows: Sequence[BenchRow], fixed: float) -> dict[str, bytes]:
    """File name → SVG, of the pictures there are rows for."""
    import matplotlib

    ranked = sorted((r for r in rows if r.miou is not None and r.miou == r.miou), key=lambda r: -r.miou)
    colours = {row.name: COLOURS[i] if i < len(COLOURS) else REST for i, row in enumerate(ranked)}
    pictures: dict[str, bytes] = {}
    with matplotlib.rc_context(STYLE):
        curved = [row for row in ranked if row.curve is not None]
        if curved:
            pictures[CURVES] = _curves(curved, colours, fixed)
        if ranked:
            pictures[TRADEOFF] = _tradeoff(ranked, colours)
    return pictures


def _curves(rows: Sequence[BenchRow], colours: dict[str, str], fixed: float) -> bytes:
    """mIoU against threshold; a dot on each curve at the two thresholds the halves chose for each other."""
    figure, axes = _axes()
    peaks = []
    for row in reversed(rows):  # the best on top
        curve = [100 * v if v is not None else float("nan") for v in row.curve or ()]
        colour = colours[row.name]
        axes.plot(DEFAULT_THRESHOLDS, curve, color=colour, linewidth=1.8 if colour != REST else 1.0)
        chosen = [curve[DEFAULT_THRESHOLDS.index(t)] for t in row.thresholds or ()]
        axes.plot(row.thresholds or (), chosen, "o", color=colour, markersize=4)
        peaks.append(curve)
    axes.set(xlim=(0, 1), ylim=(0, None))
    axes.axvline(fixed, color=REST, linewidth=0.8, linestyle=(0, (2, 3)), zorder=0)
    top = axes.get_ylim()[1]
    axes.text(fixed, top, f" {fixed:g}, set beforehand", ha="left", va="top", color=INK, fontsize=8)
    axes.set_xlabel("background threshold (dots: chosen by one half of the photos for the other)")
    axes.set_title("mIoU in % of maps at every threshold", loc="left", fontsize=11)
    _label_beside(axes, [(r.name, 100 * r.miou, colours[r.name]) for r in rows])
    return _svg(figure)


def _tradeoff(rows: Sequence[BenchRow], colours: dict[str, str]) -> bytes:
    """mIoU against milliseconds a photo, logarithmic; filled for maps, open for labels."""
    figure, axes = _axes()
    for row in rows:
        fill = "none" if row.is_label else colours[row.name]
        axes.plot(
            1000 * row.seconds,
            100 * row.miou,
            "o",
            color=colours[row.name],
            markerfacecolor=fill,
            markersize=7,
        )
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds a photo (median, logarithmic)")
    axes.set_title("mIoU in % against time", loc="left", fontsize=11)
    axes.margins(x=0.08, y=0.1)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    _label_beside(axes, [(r.name, 100 * r.miou, colours[r.name]) for r in rows])
    return _svg(figure)


def _axes() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8))
    axes = figure.subplots()
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _label_beside(axes: Any, names: Sequence[tuple[str, float, str]]) -> None:
    """Names right of the axes at their heights, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    gap = (high - low) * 0.042
    ordered = sorted(names, key=lambda entry: entry[1])
    for (name, value, colour), height in zip(ordered, spread([entry[1] for entry in ordered], gap)):
        axes.annotate(
            f"{name}  {value:.1f}",
            xy=(1.01, height),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=9,
            color=colour if colour != REST else "#707070",
            annotation_clip=False,
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights, rising, moved as little as possible (least squares) until neighbours are `gap` apart.

    Isotonic regression of heights[i] − i · gap by pooling neighbours that are in the wrong order.

    >>> spread([0, 0, 5], 1)
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
