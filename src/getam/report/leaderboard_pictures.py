"""The pictures of `getam leaderboard`: learning curves (matplotlib, an optional extra), and a sheet of masks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from getam.report.bench_plots import COLOURS, FAINT, LINES, REST, STYLE
from getam.report.leaderboard_table import SystemRow
from getam.report.overlay import Labels, Photo, label_overlay

CURVES, SHEET = "learning.svg", "sheet.jpg"
CELL = 200  # pixels: long side of a photo on the sheet
GAP, HEAD = 6, 22
PANELS = (
    ("tags_curve", "tags ranked right in %: its own training"),
    ("miou_curve", "mIoU in %: the common second stage"),
)


def draw_curves(rows: Sequence[SystemRow]) -> bytes:
    """Two panels side by side, a line a system, as SVG: what its own training learns, what its labels teach."""
    import matplotlib
    from matplotlib.figure import Figure

    ranked = sorted(rows, key=lambda row: -row.miou)
    pens = [(colour, line) for line in LINES for colour in COLOURS]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.4 + 0.12 * len(ranked)))
        for axes, (attribute, title) in zip(figure.subplots(1, 2), PANELS):
            for place, row in enumerate(ranked):
                colour, line = pens[place] if place < len(pens) else (REST, "-")
                curve = [(share, 100 * value) for share, value in getattr(row, attribute)]
                axes.plot(*zip(*curve), color=colour, linestyle=line, linewidth=1.6, label=row.name)
            axes.grid(axis="y", color=FAINT, linewidth=0.6)
            axes.set(xlim=(0, 1), xlabel="share of the steps")
            axes.set_title(title, loc="left", fontsize=10)
        lines, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(lines, names, loc="outside lower left", ncols=2, frameon=False, fontsize=9)
        figure.set_layout_engine("constrained")
        packed = io.BytesIO()
        figure.savefig(packed, format="svg", metadata={"Date": None})
    return packed.getvalue()


def sheet(names: Sequence[str], photos: Sequence[Photo], masks: Sequence[Sequence[Labels]]) -> bytes:
    """Photos from top to bottom, systems from left to right, as JPEG.

    Args:
        names: of the columns of masks.
        photos: (H, W, 3) uint8 RGB each.
        masks: of every photo one (H, W) per name.
    """
    columns = [("photo", [Image.fromarray(photo) for photo in photos])]
    for place, name in enumerate(names):
        drawn = [Image.fromarray(label_overlay(p, own[place])) for p, own in zip(photos, masks)]
        columns.append((name, drawn))
    for _, images in columns:
        for image in images:
            image.thumbnail((CELL, CELL))
    heights = [image.height for image in columns[0][1]]
    width = len(columns) * (CELL + GAP) + GAP
    page = Image.new("RGB", (width, HEAD + sum(heights) + GAP * (len(heights) + 1)), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size=13)
    for column, (name, images) in enumerate(columns):
        left = GAP + column * (CELL + GAP)
        pen.text((left, 4), _fitting(pen, name, font), fill="black", font=font)
        top = HEAD + GAP
        for image, height in zip(images, heights):
            page.paste(image, (left, top))
            top += height + GAP
    packed = io.BytesIO()
    page.save(packed, "JPEG", quality=90)
    return packed.getvalue()


def _fitting(pen: ImageDraw.ImageDraw, text: str, font: Any) -> str:
    """As much of the beginning and end of the text as a column has room for: names differ at both."""
    kept = text
    for left in range(len(text) - 1, 0, -1):
        if pen.textlength(kept, font=font) <= CELL:
            break
        kept = f"{text[: (left + 1) // 2]}…{text[len(text) - left // 2 :]}"
    return kept


def as_array(image: Image.Image) -> Photo:
    """An RGB image as (H, W, 3) uint8."""
    return np.asarray(image.convert("RGB"))
