"""The page of `getam leaderboard`: sorted, compared to the ceiling, with what was not measured."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from getam.report.leaderboard_table import SystemRow, markdown

PROTOCOL: dict[str, Any] = {
    "photos": 60, "test_photos": 12, "classes": ["cat", "dog"], "background": [], "test_ids_sha256": "cd" * 32,
    "threads": 1, "second_steps": 70, "test_side": 333, "seed": 4,
    "intervals": {"method": "percentile bootstrap over photos", "resamples": 500, "level": 0.9, "seed": 7},
    "environment": {"machine": "x86_64", "versions": {"torch": "2.4"}},
}  # fmt: skip
CEILING = SystemRow(
    name="supervised", options={}, labelled_by="true masks", steps={"second-stage": 70}, miou=0.75,
    interval=(0.7, 0.8), iou={"background": 0.9, "cat": 0.5, "dog": math.nan}, photos=("0:9/10", "0:1/9"),
    labels_miou=None, labels_interval=None, labels_iou=None, undecided=None, cpu_seconds=2.5, megabytes=300.4,
    parameters=4_640_000, tags_curve=(), miou_curve=(),
)  # fmt: skip
GETAM = replace(
    CEILING, name="getam", labelled_by="getam+pamr:free", steps={"getam": 50, "second-stage": 70}, miou=0.6,
    interval=(0.55, 0.66), labels_miou=0.711, labels_interval=(0.69, 0.73), undecided=0.053,
    compared_to="supervised", ratio=0.8, difference=-0.15, difference_interval=(-0.2, -0.1),
)  # fmt: skip


def test_a_row_shows_every_number_in_its_column() -> None:
    page = markdown(PROTOCOL, [GETAM, CEILING], {})
    line = next(line for line in page.splitlines() if line.startswith("|`getam`|"))
    assert line == (
        "|`getam`|60.0 [55.0, 66.0]|0.80|−15.0 [−20.0, −10.0]|71.1 [69.0, 73.0]|5.3|2.50|300|4.6|"
    )
    (other,) = [line for line in page.splitlines() if line.startswith("|`supervised`|**75.0**")]
    assert other == "|`supervised`|**75.0** [70.0, 80.0]|—|—|—|—|2.50|300|4.6|"
    assert page.index("|`supervised`|") < page.index("|`getam`|")
    assert "/ `supervised`" in page


def test_nothing_is_compared_with_one_row() -> None:
    page = markdown(PROTOCOL, [CEILING], {})
    assert "/ `" not in page


def test_classes_training_and_protocol_are_told() -> None:
    told = {**PROTOCOL, "background": ["grass"]}
    page = markdown(told, [CEILING, GETAM], {"bas": "it does not fit"}, pictures=("a.svg",))
    assert "|`getam`|90|50|—|" in page
    assert "- `getam`: getam 50 steps, second-stage 70 steps; labels by getam+pamr:free" in page
    assert "60 photos to train on by their tags, 12 others to test on, 2 classes (cat, dog)" in page
    assert "grass count as background" in page
    assert "for 70 steps" in page
    assert "long side of 333" in page
    assert "90% interval" in page
    assert "with seed 4" in page
    assert "- `bas`: it does not fit" in page
    assert "![a](a.svg)" in page
    assert "1 thread of x86_64" in page


def test_a_page_without_rows_says_why() -> None:
    page = markdown(PROTOCOL, [], {"bas": "it does not fit"})
    assert "it does not fit" in page
    assert "## Classes" not in page
