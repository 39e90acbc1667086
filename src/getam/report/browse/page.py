"""The page of the gallery: `index.html`, which opens from disk and loads nothing but the pictures beside it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from getam.metrics.confusion import Counts
from getam.report.browse.measures import Measures, mean_overlap, occurring
from getam.report.browse.pictures import is_small
from getam.report.gallery import page_part, page_template
from getam.report.palette import css_colour

MARK = '<meta name="generator" content="getam report">'
"""What tells a page of ours from others."""


@dataclass(frozen=True)
class Entry:
    """One photo of the gallery.

    Attributes:
        name: of the photo.
        place: number of its pictures' files.
        size: (height, width) of the photo.
        layers: of each layer of the page, whether the photo has a mask in it.
        measures: of its mask.
    """

    name: str
    place: int
    size: tuple[int, int]
    layers: tuple[bool, ...]
    measures: Measures


def page(
    *,
    title: str,
    said: Sequence[str],
    plots: Sequence[str] = (),
    classes: Sequence[str] = (),
    layers: Sequence[str] = (),
    entries: Sequence[Entry] = (),
) -> str:
    """The page as text.

    Args:
        title: its heading.
        said: paragraphs below that.
        plots: SVG, as `getam.report.plots` draws it.
        classes: C names without background.
        layers: names of the kinds of masks, those that are looked at first.
        entries: photos, those most worth a look first; none: the page has its plots only.
    """
    script = page_part("browse/page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return page_template("browse/page.html.jinja").render(
        title=title,
        said=said,
        plots=plots,
        photos=bool(entries),
        style=page_part("tones.css") + page_part("browse/page.css"),
        script=script,
        script_hash=f"sha256-{digest}",
        data=in_script(data_of(classes, layers, entries)),
    )


def data_of(classes: Sequence[str], layers: Sequence[str], entries: Sequence[Entry]) -> dict[str, Any]:
    """What the script knows.

    Per photo: name, file (number), width, height, exact (small pictures are PNG), layers (which it has), doubts, the
    numbers of each sort, and classes: [index, share covered, confidence, IoU with the truth, IoU with the other masks],
    each null where there is none.
    """
    photos = [_photo(entry, classes) for entry in entries]
    sorts = [
        {"key": "look", "name": "most worth a look", "short": "", "rising": True},
        {"key": "name", "name": "name", "short": "", "rising": True},
        {"key": "covers", "name": "share covered", "short": "covers", "rising": False},
        {"key": "sure", "name": "least confident", "short": "confidence", "rising": True},
        {"key": "other", "name": "disagreement", "short": "agreement", "rising": True},
        {"key": "truth", "name": "IoU with the truth", "short": "IoU", "rising": True},
    ]
    known = [
        sort for sort in sorts
        if sort["key"] in ("look", "name") or any(photo[str(sort["key"])] is not None for photo in photos)
    ]  # fmt: skip
    return {
        "classes": list(classes),
        "colours": [css_colour(label) for label in range(1, len(classes) + 1)],
        "layers": list(layers),
        "sorts": known,
        "photos": photos,
    }


def _photo(entry: Entry, classes: Sequence[str]) -> dict[str, Any]:
    its = entry.measures
    truth, other = _ratios(its.with_truth), _ratios(its.with_other)
    rows = [
        [
            place,
            _rounded(its.alone.covered[place + 1]),
            _rounded(its.confidences.get(classes[place])),
            truth.get(place + 1),
            other.get(place + 1),
        ]
        for place in occurring(its, classes)
    ]
    return {
        "name": entry.name,
        "file": entry.place,
        "width": entry.size[1],
        "height": entry.size[0],
        "exact": is_small(entry.size),
        "layers": list(entry.layers),
        "doubts": "; ".join(its.alone.doubts),
        "covers": _rounded(its.alone.foreground),
        "sure": _rounded(its.least_sure),
        "truth": None if its.with_truth is None else _rounded(mean_overlap(its.with_truth)),
        "other": None if its.with_other is None else _rounded(mean_overlap(its.with_other)),
        "classes": rows,
    }


def _ratios(counts: Counts | None) -> Mapping[int, float]:
    """Label → IoU, of those that occur."""
    if counts is None:
        return {}
    return {
        int(label): round(float(counts[0, label] / counts[1, label]), 4)
        for label in np.flatnonzero(counts[1])
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)


def in_script(data: Any) -> str:
    """JSON that may stand in a `<script>`: no text in it ends that, or begins a comment.

    >>> in_script({"name": "</script>"})
    '{"name":"\\\\u003c/script>"}'
    """
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
