"""From each tool's tags to masks in a tool's own format and back, as a new user does it; paths as text."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import getam
from getam import cli
from getam.data.masks import read_mask

Rows = list[tuple[str, list[str]]]


def label_studio(file: Path, rows: Rows) -> None:
    file.write_text(json.dumps([
        {"data": {"image": f"/data/upload/3/1a2b3c4d-{name}"}, "annotations": [
            {"result": [{"type": "choices", "value": {"choices": tags}}]}
        ]} for name, tags in rows
    ]))  # fmt: skip


def cvat(file: Path, rows: Rows) -> None:
    images = ""
    for name, tags in rows:
        images += f'<image name="{name}" width="48" height="40">'
        images += "".join(f'<tag label="{tag}" source="manual"/>' for tag in tags) + "</image>"
    file.write_text(f"<annotations><version>1.1</version>{images}</annotations>")


def coco(file: Path, rows: Rows) -> None:
    classes = ["red", "blue"]
    file.write_text(json.dumps({
        "images": [{"id": number, "file_name": name} for number, (name, _) in enumerate(rows)],
        "categories": [{"id": 7 + number, "name": name} for number, name in enumerate(classes)],
        "annotations": [
            {"id": 10 * number + classes.index(tag), "image_id": number, "category_id": 7 + classes.index(tag)}
            for number, (_, tags) in enumerate(rows) for tag in tags
        ],
    }))  # fmt: skip


def fiftyone(file: Path, rows: Rows) -> None:
    file.write_text(json.dumps({"samples": [
        {"filepath": name, "ground_truth": {
            "_cls": "Classifications", "classifications": [{"_cls": "Classification", "label": tag} for tag in tags]
        }} for name, tags in rows
    ]}))  # fmt: skip


def one_hot(file: Path, rows: Rows) -> None:
    lines = [f"{name},{int('red' in tags)},{int('blue' in tags)}" for name, tags in rows]
    file.write_text("\n".join(["filename,red,blue", *lines]))


def excel(file: Path, rows: Rows) -> None:
    lines = [f'{name};"{", ".join(tags)}"' for name, tags in rows]
    file.write_bytes("\r\n".join(["filename;tags", *lines]).encode("utf-16"))


def json_lines(file: Path, rows: Rows) -> None:
    file.write_text("".join(json.dumps({"image": name, "tags": tags}) + "\n" for name, tags in rows))


@pytest.mark.parametrize(
    ("export", "name", "to"),
    [
        (label_studio, "export.json", "label-studio"),
        (cvat, "annotations.xml", "cvat"),
        (coco, "instances.json", "coco"),
        (fiftyone, "samples.json", "labelme"),
        (one_hot, "one-hot.csv", "yolo"),
        (excel, "excel.csv", "voc"),
        (json_lines, "tags.jsonl", "coco"),
    ],
)
def test_tags_of_a_tool_become_masks_of_a_tool(
    export: Callable[[Path, Rows], None], name: str, to: str, scenes: Path, trained: Path, tmp_path: Path
) -> None:
    if to == "coco":
        pytest.importorskip("pycocotools")
    with (scenes / "tags.csv").open() as file:
        rows = [(row["image"], row["tags"].split(";")) for row in csv.DictReader(file)]
    tags, photos, out = tmp_path / name, str(scenes / "photos"), tmp_path / "masks"
    export(tags, rows)
    check = getam.data_check(photos, tags=(str(tags),), masks=str(scenes / "truth"))
    found = {sample.photo.name: set(sample.tags) for sample in check.collection.samples}
    assert found == {name: set(its) for name, its in rows}
    options = ["--model", str(trained), "--saliency", "none", "--scales", "32", "--out", str(out), "--to", to]
    assert cli.main(["label", "--data", photos, "--tags", str(tags), *options]) == 0
    there, back = str(tmp_path / f"masks-{to}"), tmp_path / "back"
    assert cli.main(["convert", there, "--from", to, "--photos", photos, "--out", str(back)]) == 0
    for photo, _ in rows:
        mask = read_mask(out / f"{Path(photo).stem}.png")
        expected = mask * (mask < 255) if to == "yolo" else mask
        np.testing.assert_array_equal(read_mask(back / f"{Path(photo).stem}.png"), expected)
    assert any(read_mask(file).any() for file in back.glob("*.png"))


def test_splitting_takes_paths_as_text(scenes: Path, tmp_path: Path) -> None:
    getam.data_split(
        data=str(scenes / "photos"),
        tags=str(scenes / "tags.csv"),
        out=str(tmp_path),
        shares=("a=0.5", "b=0.5"),
    )
    assert sum(len((tmp_path / f"{name}.csv").read_text().splitlines()) - 1 for name in "ab") == 6


def test_comparing_and_scoring_take_paths_as_text(scenes: Path, trained: Path, tmp_path: Path) -> None:
    data, tags, truth = (str(scenes / name) for name in ("photos", "tags.csv", "truth"))
    out = getam.bench(
        data=data, tags=tags, truth=truth, model=str(trained), compare=("getam",), size=32, perturbed=0,
        out=str(tmp_path / "bench"),
    )  # fmt: skip
    assert json.loads((out / "bench.json").read_text())["protocol"]["photos"] == 6
    split = tmp_path / "some.txt"
    split.write_text("scene0\nscene1\n")
    assert getam.evaluate(truth, truth, split=str(split)).protocol.split == "some.txt"
