"""What the page shows of a photo: a map over it, a mask over it, and which colour is which class."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from getam.data.masks import LabelMap
from getam.data.tags import BACKGROUND
from getam.label_numbers import IGNORE
from getam.report.overlay import heat_overlay, label_overlay
from getam.report.palette import colour_rows, colour_table
from getam.web.look import UNDECIDED, Found, Look, resized, shown_size

SHOWN = 640  # long side of pictures on the page, pixels
EDITED = 1000  # of a mask that is painted
GREY = (150, 150, 150)  # the brush for undecided pixels, which are drawn hatched


def map_picture(look: Look, found: Found, tag: str | None) -> NDArray[np.uint8] | None:
    """The map of a tag over the photo, (h,w,3); None where the source has no map of it."""
    if found.heat is None or tag not in found.classes:
        return None
    place = found.classes.index(tag)
    if place not in found.mapped:
        return None
    heat: Any = found.heat[found.mapped.index(place)]
    return heat_overlay(look.photo.shown(SHOWN), heat.numpy())


def mask_picture(look: Look, found: Found, threshold: float) -> NDArray[np.uint8]:
    """The mask of a source over the photo, (h,w,3)."""
    return label_over(look, found.mask(threshold, shown_size(look.photo.size, SHOWN)), SHOWN)


def label_over(look: Look, label: LabelMap, long_side: int) -> NDArray[np.uint8]:
    """A mask of any size over the photo brought to a long side, (h,w,3)."""
    photo = look.photo.shown(long_side)
    return label_overlay(photo, resized(label, (photo.shape[0], photo.shape[1])))


def brushes(classes: Sequence[str]) -> dict[str, tuple[int, tuple[int, int, int]]]:
    """What can be painted: name → label and colour; the classes first, then background and undecided."""
    rows = colour_table()[colour_rows(np.arange(len(classes) + 1))].tolist()
    colours = [(red, green, blue) for red, green, blue in rows]
    named = {name: (number, colours[number]) for number, name in enumerate(classes, start=1)}
    return {**named, BACKGROUND: (0, colours[0]), UNDECIDED: (IGNORE, GREY)}


def css(colour: tuple[int, int, int]) -> str:
    """`#rrggbb`."""
    return "#" + bytes(colour).hex()


def legend(classes: Sequence[str], shares: Sequence[float], unknown: Sequence[str] = ()) -> str:
    """HTML: a patch of colour, name and share of the photo for each class."""
    entries = []
    colours = brushes(classes)
    for name, share in zip(classes, shares, strict=True):
        patch = f'<i style="background:{css(colours[name][1])}"></i>'
        note = "no map, paint it" if name in unknown else f"{share:.0%}"
        entries.append(f'<span class="getam-class">{patch}{html.escape(name)} · {note}</span>')
    return f'<div class="getam-legend">{"".join(entries)}</div>'


def shares(label: LabelMap, classes: Sequence[str]) -> list[float]:
    """Of the photo's pixels, class by class."""
    count = np.bincount(label.ravel(), minlength=256)
    return [float(count[number] / label.size) for number in range(1, len(classes) + 1)]
