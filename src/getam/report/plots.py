"""Plots with axes as inline SVG, for pages: their text and lines take the colours of the page, light or dark.

A plot is 400 units wide, about its width on a phone, so that its text is read there too; the page sets several side by
side where there is room.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from getam.report.bench_plots import spread
from getam.report.palette import LINE_COLOURS

WIDTH, HEIGHT = 400, 240
LEFT, RIGHT, TOP, BOTTOM = 44, 96, 30, 40  # margins: numbers, names of lines, title, numbers with their unit
BAR = 22  # height of a bar with its gap
CHARACTER = 6.2  # width of one at the size of names, about
LONGEST = 18  # characters of a bar's name
DASHES = ("", "5 3", "1.5 3")  # lines beyond the colours take these in turn


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        name: what stands before it.
        value: its length, counted or measured; None where there is nothing to measure.
        interval: where a whisker goes from and to.
        note: what stands behind its number.
        colour: of the bar, "#RRGGBB".
    """

    name: str
    value: int | float | None
    interval: tuple[float, float] | None = None
    note: str = ""
    colour: str = LINE_COLOURS[0]


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, 1, 2 or 5 times a power of ten apart, at most `most` of them.

    >>> ticks(0, 1), ticks(0, 730), ticks(0.2, 0.31)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0, 200, 400, 600], [0.2, 0.22, 0.24, 0.26, 0.28, 0.3])
    """
    if not high > low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    if step >= 1:
        return [round(number * step) for number in range(first, last + 1)]
    digits = -math.floor(math.log10(step))
    return [round(number * step, digits) for number in range(first, last + 1)]


def line_plot(
    title: str,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_label: str,
    highest: float | None = None,
) -> str:
    """Lines over a common axis, each with its name at its end.

    Args:
        title: above the plot: what is measured, in what unit.
        lines: name → points (x, y), x rising from 0 or above; at least one point in all.
        x_label: below the axis.
        highest: where the upright axis ends; at the highest point when left out. It begins
            at 0, or at the lowest point below that.

    Returns:
        An `<svg>`, whose title and description say in words what it shows.
    """
    points = [point for line in lines.values() for point in line]
    right = max(x for x, _ in points)
    high = highest if highest is not None else max(0.0, *(y for _, y in points)) * 1.05 or 1.0
    low = min(0.0, *(y for _, y in points))
    across, up = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + across * x / (right or 1), TOP + up * (high - min(y, high)) / (high - low)

    drawn = [_upright_axis(ticks(low, high), lambda y: place(0, y)[1], LEFT, WIDTH - RIGHT)]
    for x in ticks(0, right, 5):
        drawn.append(_text(place(x, low)[0], HEIGHT - BOTTOM + 15, _number(x), "middle"))
    drawn.append(_text(LEFT + across / 2, HEIGHT - 8, x_label, "middle", "soft"))
    ends = sorted(((line[-1][1], name) for name, line in lines.items() if line), reverse=True)
    heights = dict(zip([name for _, name in ends], spread([place(0, y)[1] for y, _ in ends], 13)))
    for number, (name, line) in enumerate(lines.items()):
        if not line:
            continue
        pen = f'stroke="{LINE_COLOURS[number % len(LINE_COLOURS)]}"'
        dash = DASHES[number // len(LINE_COLOURS) % len(DASHES)]
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        drawn.append(f'<polyline class="curve" points="{path}" {pen}{dashed}/>')
        at, (x, y) = heights[name], place(*line[-1])
        drawn.append(f'<path class="curve" d="M{x + 4:.1f},{at:.1f}h10" {pen}{dashed}/>')
        drawn.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{LINE_COLOURS[number % len(LINE_COLOURS)]}"/>'
        )
        drawn.append(_text(WIDTH - RIGHT + 17, at + 4, f"{_short(name, 9)} {_number(line[-1][1])}", "start"))
    said = "; ".join(
        f"{name} from {_number(line[0][1])} to {_number(line[-1][1])}" for name, line in lines.items() if line
    )
    return _svg(HEIGHT, title, said, drawn)


def bar_plot(title: str, bars: Sequence[Bar], *, highest: float = 1.0) -> str:
    """Bars from the left, one below the other, each with its name before and its number behind it.

    Args:
        title: above the plot: what is measured, in what unit.
        bars: from top to bottom.
        highest: where the axis ends; it begins at 0.

    Returns:
        An `<svg>`, as `line_plot`.
    """
    names = [_short(bar.name, LONGEST) for bar in bars]
    left = 12 + CHARACTER * max(map(len, names), default=0)
    behind = 14 + CHARACTER * max((len(_behind(bar)) for bar in bars), default=0)
    across, bottom = WIDTH - left - behind, TOP + BAR * len(bars)
    drawn = []
    for x in ticks(0, highest):
        at = left + across * x / highest
        drawn.append(f'<path class="grid" d="M{at:.1f},{TOP}V{bottom}"/>')
        drawn.append(_text(at, bottom + 15, _number(x), "middle"))
    for number, (bar, name) in enumerate(zip(bars, names)):
        middle = TOP + BAR * (number + 0.5)
        drawn.append(_text(left - 6, middle + 4, name, "end"))
        drawn.append(_text(WIDTH - behind + 10, middle + 4, _behind(bar), "start"))
        if bar.value is None:
            continue
        length = across * min(bar.value, highest) / highest
        drawn.append(
            f'<rect class="bar" x="{left:.1f}" y="{middle - 6:.1f}" width="{length:.1f}" height="12" '
            f'fill="{bar.colour}"/>'
        )
        if bar.interval is not None:
            low, high = (left + across * min(end, highest) / highest for end in bar.interval)
            path = f"M{low:.1f},{middle}H{high:.1f}m0,-3v6M{low:.1f},{middle - 3}v6"
            drawn.append(f'<path class="whisker halo" d="{path}"/><path class="whisker" d="{path}"/>')
    drawn.append(f'<path class="axis" d="M{left:.1f},{TOP}V{bottom}"/>')
    said = "; ".join(f"{bar.name} {_behind(bar)}" for bar in bars)
    return _svg(bottom + 24, title, said, drawn)


def _behind(bar: Bar) -> str:
    number = (
        "–" if bar.value is None else f"{bar.value:,}" if isinstance(bar.value, int) else f"{bar.value:.2f}"
    )
    return f"{number} {bar.note}".strip()


def _upright_axis(
    numbers: Sequence[float], height: Callable[[float], float], left: float, right: float
) -> str:
    drawn = []
    for number in numbers:
        at = height(number)
        kind = "grid" if number else "axis"
        drawn.append(f'<path class="{kind}" d="M{left},{at:.1f}H{right}"/>')
        drawn.append(_text(left - 6, at + 4, _number(number), "end"))
    return "".join(drawn)


def _number(value: float) -> str:
    """
    >>> _number(12000), _number(0.25), _number(3.14159), _number(0.0004)
    ('12k', '0.25', '3.14', '0.0004')
    """
    if abs(value) >= 10_000:
        return f"{value / 1000:.4g}k"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _text(x: float, y: float, words: str, anchor: str, kind: str = "") -> str:
    of = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{of}>{escape(words)}</text>'


def _svg(height: float, title: str, said: str, drawn: Sequence[str]) -> str:
    heading = f'<text x="4" y="15" class="heading">{escape(title)}</text>'
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(f"{title}: {said}")}">'
        f"{heading}{''.join(drawn)}</svg>"
    )
