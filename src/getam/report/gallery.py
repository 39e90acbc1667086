"""One self-contained HTML page of photos, heat maps and masks: no script, nothing loaded from elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from getam.errors import InputError
from getam.label_numbers import ignore_label
from getam.report.overlay import (
    Labels,
    Photo,
    check_labels,
    check_photo,
    data_uri,
    heat_colours,
    heat_overlay,
    label_overlay,
)
from getam.report.palette import css_colour
from getam.whole_files import write_atomically

SMALL_SIDE, LARGE_SIDE = 256, 640
"""Photos are shown with a longer side between these: small ones magnified whole times, large ones shrunk."""

LEGEND_STEPS = 32


@dataclass(frozen=True)
class ReportRow:
    """One photo of the report and everything that was found in it.

    Args:
        photo: (H, W, 3) uint8 RGB.
        heat_maps: tag → (h, w) map ≥ 0 of any size, each shown relative to its own maximum.
        pseudo_label: (H, W) uint8 (uint16 beyond 254 classes), or None to leave the picture out; so too the next two.
        prediction: as `pseudo_label`.
        truth: as `pseudo_label`.
        caption: heading of the row.
    """

    photo: Photo
    heat_maps: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    pseudo_label: Labels | None = None
    prediction: Labels | None = None
    truth: Labels | None = None
    caption: str = ""


def write_report(
    out: Path,
    *,
    title: str,
    rows: Sequence[ReportRow],
    class_names: Sequence[str],
    table: Sequence[Mapping[str, object]] = (),
    notes: Sequence[str] = (),
) -> Path:
    """Writes `out/index.html`, one file that can be mailed.

    Args:
        out: folder, made when absent; an older report in it is replaced in one step.
        title: heading of the page.
        rows: the photos, in this order.
        class_names: C names without background; label k+1 is class_names[k].
        table: results, one mapping per line; columns in order of first appearance, the first heads the line.
            Floats are printed with three decimals, those in [0, 1] with a bar; None as a dash.
        notes: paragraphs below the table. All text is plain and escaped.

    Returns:
        Path of the page.

    Raises:
        InputError: `out` is a file, or an array of a row does not fit its photo or the class names.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: name a folder for the report")
    page = render(title=title, rows=rows, class_names=class_names, table=table, notes=notes)
    index = out / "index.html"
    write_atomically(index, page.encode("utf-8"))
    return index


def render(
    *,
    title: str,
    rows: Sequence[ReportRow],
    class_names: Sequence[str],
    table: Sequence[Mapping[str, object]] = (),
    notes: Sequence[str] = (),
) -> str:
    """The page of `write_report` as text."""
    columns = list(dict.fromkeys(column for line in table for column in line))
    return page_template("gallery.html.jinja").render(
        title=title,
        tones=page_part("tones.css"),
        notes=notes,
        columns=columns,
        lines=[[_cell(line.get(column)) for column in columns] for line in table],
        rows=[_row(row, number, class_names) for number, row in enumerate(rows, start=1)],
        heat=any(row.heat_maps for row in rows),
        heat_stops=[_css(colour) for colour in heat_colours(np.linspace(0, 1, LEGEND_STEPS))],
    )


def _row(row: ReportRow, number: int, class_names: Sequence[str]) -> dict[str, object]:
    """What the template shows of one row."""
    caption = row.caption or f"Photo {number}"
    masks = {"Pseudo label": row.pseudo_label, "Prediction": row.prediction, "Truth": row.truth}
    found = {name: mask for name, mask in masks.items() if mask is not None}
    try:
        check_photo(row.photo)
        for mask in found.values():
            check_labels(row.photo, mask)
            _check_classes(mask, class_names)
        photo = _resize(row.photo, Image.Resampling.LANCZOS)
        large = max(row.photo.shape[:2]) >= SMALL_SIDE
        shown = [_figure(photo, large, "Photo", f"Photo: {caption}")]
        for tag, heat in row.heat_maps.items():
            overlay = heat_overlay(photo, heat)
            shown.append(_figure(overlay, large, "Heat map:", f"Heat map of {tag}: {caption}", tag))
        for name, mask in found.items():
            overlay = label_overlay(photo, _resize(mask, Image.Resampling.NEAREST))
            present = ", ".join(_names(mask, class_names)) or "background only"
            shown.append(_figure(overlay, large, name, f"{name} ({present}): {caption}"))
    except InputError as error:
        raise InputError(f'row {number} of the report ("{caption}"): {error}') from None
    labels = sorted({int(label) for mask in found.values() for label in np.unique(mask)} - {0})
    ignore = ignore_label(len(class_names))
    legend = [(css_colour(label), class_names[label - 1]) for label in labels if label != ignore]
    return {
        "caption": caption,
        "figures": shown,
        "large": large,
        "legend": legend,
        "ignored": ignore in labels,
    }


def _figure(image: Photo, large: bool, name: str, alt: str, tag: str = "") -> dict[str, object]:
    height, width = image.shape[:2]
    uri = data_uri(
        image, "jpeg" if large else "png"
    )  # magnified scenes pack well without loss, photos do not
    return {"uri": uri, "name": name, "tag": tag, "alt": alt, "width": width, "height": height}


def _resize(image: NDArray[Any], resampling: Image.Resampling) -> NDArray[Any]:
    """To a longer side of 256 to 640: whole-number magnification by repetition, or resampling when larger."""
    side = max(image.shape[:2])
    if side > LARGE_SIDE:
        height, width = (max(1, round(length * LARGE_SIDE / side)) for length in image.shape[:2])
        return np.asarray(Image.fromarray(image).resize((width, height), resampling))
    times = -(-SMALL_SIDE // side)
    return image.repeat(times, axis=0).repeat(times, axis=1)


def _cell(value: object) -> dict[str, object]:
    if value is None:
        return {"text": "–", "bar": None, "number": True}
    if isinstance(value, float | np.floating):
        share = round(100 * float(value), 1) if 0 <= value <= 1 else None
        return {"text": f"{value:.3f}", "bar": share, "number": True}
    return {"text": str(value), "bar": None, "number": isinstance(value, int | np.integer)}


def _names(mask: Labels, class_names: Sequence[str]) -> list[str]:
    return [class_names[label - 1] for label in np.unique(mask).tolist() if 0 < label <= len(class_names)]


def _check_classes(mask: Labels, class_names: Sequence[str]) -> None:
    ignore = ignore_label(len(class_names))
    largest = max((label for label in np.unique(mask).tolist() if label != ignore), default=0)
    if largest > len(class_names):
        raise InputError(
            f"a mask holds label {largest} but there are {len(class_names)} class names: name them all"
        )


def _css(colour: NDArray[np.uint8]) -> str:
    return "#" + bytes(colour.tolist()).hex()


@lru_cache
def page_part(name: str) -> str:
    """A file of this room that pages are made of: a template, a style, a script."""
    return resources.files("getam.report").joinpath(name).read_text(encoding="utf-8")


@lru_cache
def page_template(name: str) -> jinja2.Template:
    """A template of this room, which escapes what it is given."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(page_part(name))
