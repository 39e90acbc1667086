"""Curves and the sheet of the leaderboard."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from test_leaderboard_table import CEILING, GETAM

from getam.report import leaderboard_pictures as room
from getam.report.overlay import label_overlay


def test_two_panels_name_every_system() -> None:
    pytest.importorskip("matplotlib")
    curved = replace(GETAM, name="a", tags_curve=((0.5, 0.4), (1, 0.9)), miou_curve=((1, 0.6),))
    rows = [curved, replace(CEILING, name="b"), *(replace(curved, name=f"n{i}") for i in range(15))]
    text = room.draw_curves(rows).decode()
    assert "<svg" in text
    assert room.draw_curves(rows).decode() == text  # no date, no random names
    assert room.draw_curves(rows[:1]).decode() != text


def test_the_sheet_has_photos_in_rows_and_systems_in_columns() -> None:
    photos = [np.full((height, 60, 3), grey, np.uint8) for height, grey in ((40, 60), (30, 200))]
    masks = [[np.full(photo.shape[:2], label, np.uint8) for label in (1, 2)] for photo in photos]
    with Image.open(io.BytesIO(room.sheet(["one", "two"], photos, masks))) as image:
        found = np.asarray(image).astype(int)
    assert found.shape == (room.HEAD + 40 + 30 + 3 * room.GAP, 3 * room.CELL + 4 * room.GAP, 3)
    top = room.HEAD + room.GAP
    for row, photo in enumerate(photos):
        for column in range(3):
            wanted = photo if column == 0 else label_overlay(photo, masks[row][column - 1])
            left = room.GAP + column * (room.CELL + room.GAP)
            got = found[top : top + photo.shape[0], left : left + 60]
            assert np.abs(got - wanted).mean() < 6  # JPEG
        top += photo.shape[0] + room.GAP


def test_large_photos_are_shrunk_to_a_cell() -> None:
    photo = np.zeros((300, 600, 3), np.uint8)
    packed = room.sheet(["one"], [photo], [[np.zeros((300, 600), np.uint8)]])
    with Image.open(io.BytesIO(packed)) as image:
        assert image.height == room.HEAD + room.CELL // 2 + 2 * room.GAP


def test_a_long_name_keeps_its_beginning_and_end() -> None:
    class Pen:
        def textlength(self, text: str, font: object) -> int:
            return len(text) * 10

    name = "classifier[backbone=resnet50]/layercam:threshold"
    short = room._fitting(Pen(), name, None)  # type: ignore[arg-type]
    assert len(short) == room.CELL // 10
    head, tail = short.split("…")
    assert name.startswith(head)
    assert name.endswith(tail)
    assert abs(len(head) - len(tail)) <= 1
    assert room._fitting(Pen(), "getam", None) == "getam"  # type: ignore[arg-type]
