"""What the gallery says of all its photos together: a few sentences, and bars for the classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from getam.data.tags import BACKGROUND
from getam.metrics.bootstrap import interval
from getam.metrics.confusion import Counts, mean_iou
from getam.report.browse.measures import Measures, occurring
from getam.report.palette import css_colour
from getam.report.plots import Bar, bar_plot

GREY = "#888888"  # background's bar
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
        ends = interval(counts)
        between = f" (95 % interval {ends[0]:.3f}–{ends[1]:.3f})" if ends else ""
        on = "" if len(counts) == len(measures) else f", on {counted(len(counts), 'photo')}"
        said.append(f"mIoU with {against} {float(mean_iou(counts.sum(0))):.3f}{between}{on}.")
    return said


def class_plots(measures: Sequence[Measures], classes: Sequence[str], other: str | None) -> list[str]:
    """SVG of the bars there is something for: IoU, agreement, confidence, photos; a bar for each class that occurs."""
    photos = [sum(place in occurring(its, classes) for its in measures) for place in range(len(classes))]
    there = [place for place, count in enumerate(photos) if count]
    plots = []
    for title, of in (("IoU with the true masks", _truth), (f"IoU with {other}", _other)):
        counts = stacked(measures, of)
        if len(counts):
            plots.append(bar_plot(title, iou_bars(counts.sum(0), classes)))
    sure = {place: [its.confidences.get(classes[place]) for its in measures] for place in there}
    if bars := [
        _spread(classes[place], place + 1, known)
        for place, found in sure.items()
        if (known := [value for value in found if value is not None])
    ]:
        plots.append(bar_plot("Confidence: median, and the middle half of the photos", bars))
    if there:
        counts_of = [Bar(classes[place], photos[place], colour=css_colour(place + 1)) for place in there]
        plots.append(bar_plot("Photos with the class", counts_of, highest=max(photos)))
    return plots


def _spread(name: str, label: int, values: Sequence[float]) -> Bar:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return Bar(name, middle, (low, high), colour=css_colour(label))


def iou_bars(counts: Counts, classes: Sequence[str]) -> list[Bar]:
    """A bar for background and each class of (2, C+1) hits and unions that has a pixel."""
    return [
        Bar(name, float(counts[0, label] / counts[1, label]), colour=css_colour(label) if label else GREY)
        for label, name in enumerate((BACKGROUND, *classes))
        if counts[1, label]
    ]


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
