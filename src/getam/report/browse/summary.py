"""What the gallery says of all its photos together: a few sentences, and bars for the classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from getam.data.tags import BACKGROUND
from getam.metrics.bootstrap import interval
from getam.metrics.confusion import Counts, mean_iou
from getam.metrics.plausibility import NOTHING
from getam.report.browse.measures import Measures
from getam.report.palette import css_colour
from getam.report.plots import Bar, bar_plot

Of = Callable[[Measures], Counts | None]


def sentences(measures: Sequence[Measures], other: str | None) -> list[str]:
    """How many photos there are and look wrong, and the mIoU with the truth and with the masks called `other`."""
    doubtful = sum(bool(its.alone.doubts) for its in measures)
    wrong = "1 looks wrong" if doubtful == 1 else f"{doubtful or 'none'} of them look wrong"
    said = [f"{counted(len(measures), 'photo')}; {wrong}."]
    for against, of in (("the true masks", _truth), (other, _other)):
        counts = stacked(measures, of)
        if against is None or not len(counts):
            continue
        miou, ends = float(mean_iou(counts.sum(0))), interval(counts)
        between = f" (95 % interval {ends[0]:.3f}–{ends[1]:.3f})" if ends else ""
        said.append(
            f"mIoU with {against}: {miou:.3f}{between}, background included, on {counted(len(counts), 'photo')}."
        )
    return said


def class_plots(measures: Sequence[Measures], classes: Sequence[str], other: str | None) -> list[str]:
    """SVG of the bars there is something for: IoU, agreement, confidence, photos; a bar a class."""
    photos = {
        name: sum(its.alone.covered[place + 1] >= NOTHING for its in measures)
        for place, name in enumerate(classes)
    }
    plots = []
    for title, of in (("IoU with the true masks", _truth), (f"IoU with {other}", _other)):
        counts = stacked(measures, of)
        if len(counts):
            plots.append(bar_plot(title, iou_bars(counts.sum(0), classes)))
    sure = {name: [its.confidences[name] for its in measures if name in its.confidences] for name in classes}
    if any(sure.values()):
        bars = [
            Bar(
                name,
                float(np.median(found)) if found else None,
                (float(np.quantile(found, 0.25)), float(np.quantile(found, 0.75))) if found else None,
                colour=css_colour(label),
            )
            for label, (name, found) in enumerate(sure.items(), start=1)
        ]
        plots.append(bar_plot("Confidence: median, middle half of the photos", bars))
    counted_bars = [
        Bar(name, count, colour=css_colour(label))
        for label, (name, count) in enumerate(photos.items(), start=1)
    ]
    plots.append(bar_plot("Photos with the class", counted_bars, highest=max(1, *photos.values())))
    return plots


def iou_bars(counts: Counts, classes: Sequence[str]) -> list[Bar]:
    """A bar for background and each class of (2, C+1) hits and unions; without a number where there is no pixel."""
    bars = []
    for label, name in enumerate((BACKGROUND, *classes)):
        value = float(counts[0, label] / counts[1, label]) if counts[1, label] else None
        bars.append(Bar(name, value, colour=css_colour(label) if label else "#888888"))
    return bars


def stacked(measures: Sequence[Measures], of: Of) -> Counts:
    """(N, 2, C+1) of the photos that have such counts."""
    found = [counts for its in measures if (counts := of(its)) is not None]
    return np.stack(found) if found else np.zeros((0, 2, 1), np.int64)


def counted(number: int, what: str) -> str:
    """
    >>> counted(1, "photo"), counted(2000, "photo")
    ('1 photo', '2,000 photos')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _truth(its: Measures) -> Counts | None:
    return its.with_truth


def _other(its: Measures) -> Counts | None:
    return its.with_other
