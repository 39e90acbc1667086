"""Label Studio's tasks: brush strokes as predictions, which people correct, and the labelling interface for them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import numpy as np

from getam.data.mask_formats.base import (
    UNDECIDED,
    Label,
    PhotoMask,
    Reading,
    Source,
    canvas,
    name_of,
    names_of,
    numbers_of,
    one_each,
    ordered,
    photo_of,
    read_json,
    the_file,
    understanding,
    web_colour,
)
from getam.data.mask_formats.label_studio_rle import decode_brush, encode_brush
from getam.data.mask_formats.outlines import fill
from getam.errors import InputError
from getam.whole_files import replacing, write_atomically

TOOL = "Label Studio"
FILE = "tasks.json"
INTERFACE = "label-config.xml"
BRUSH, POLYGON = "brushlabels", "polygonlabels"
FROM, TO, DATA = "masks", "image", "image"
PHOTO = "photo"
"""Where a task's data keeps the photo's path as it was: Label Studio hands further data through."""
SIZE = "height_width"
LOCAL_FILES = "/data/local-files/?d="


def results(names: Sequence[str]) -> list[str]:
    """The tasks, and the labelling interface."""
    return [FILE, INTERFACE]


def write(
    out: Path, classes: tuple[str, ...], masks: Iterable[PhotoMask], prefix: str | None
) -> Counter[str]:
    """`out`/tasks.json, and label-config.xml to paste into the project's labelling interface. Nothing is lost.

    A class region's confidence is its `score`, that of a prediction the lowest of them, so that sorting by score shows
    first what is worth a look. What is undecided has a label of its own.
    """
    names = names_of(classes, TOOL)
    with replacing(out / FILE) as file:
        file.write(b"[")
        for index, mask in enumerate(masks):
            photo = photo_of(mask, TOOL)
            task = {
                "data": {
                    DATA: _place(mask, prefix) + quote(photo),
                    PHOTO: photo,
                    SIZE: list(mask.label.shape),  # for masks that stay empty
                },
                "predictions": [_prediction(mask, names, index)],
            }
            file.write((",\n" if index else "\n").encode() + json.dumps(task, ensure_ascii=False).encode())
        file.write(b"\n]\n")
    view = ET.Element("View")
    ET.SubElement(view, "Image", name=TO, value=f"${DATA}", zoom="true")
    labels = ET.SubElement(view, "BrushLabels", name=FROM, toName=TO)
    for number, name in names.items():
        ET.SubElement(labels, "Label", value=name, background=web_colour(number))
    ET.indent(view)
    write_atomically(out / INTERFACE, ET.tostring(view, encoding="utf-8") + b"\n")
    return Counter()


def read(path: Path, reading: Reading) -> Source:
    """An export in JSON: of each task its newest annotation that was not cancelled, or else its newest prediction.

    Brush strokes and polygons are read, the later one on top; other results are counted. The order of the classes is
    that of label-config.xml, where one is beside. Raises `InputError` for anything else.
    """
    file = the_file(path, FILE, TOOL)
    tasks = read_json(file, TOOL)
    interface = file.parent / INTERFACE
    with understanding(file, "the list of tasks", TOOL):
        drawn = [_newest(task) for task in tasks]
        photos = [_photo(task) for task in tasks]
        names = one_each([name_of(photo) for photo in photos], file)
        used = {name for results in drawn for result in results for name in _labels(result)}
    classes = ordered([*_listed(interface), *sorted(used)], reading.classes, file)
    numbers = numbers_of(classes)
    lost: Counter[str] = Counter()

    def load(name: str, photo: str, task: dict[str, Any], results: list[dict[str, Any]]) -> PhotoMask:
        label: Label | None = None
        scores: dict[str, float] = {}
        with understanding(file, f"a result of {photo}", TOOL):
            for result in results:
                labels = _labels(result)
                if not labels:
                    lost[f"results of the kind {result.get('type')}"] += 1
                    continue
                size = int(result["original_height"]), int(result["original_width"])
                label = canvas(*size) if label is None else label
                if label.shape != size:
                    raise ValueError("results of photos of different sizes")
                number = numbers[labels[0]]
                value = result["value"]
                if result["type"] == BRUSH:
                    label[decode_brush(value["rle"], size)] = number
                else:
                    corners = np.array(value["points"], np.float64) * [size[1] / 100, size[0] / 100]
                    fill(label, corners, number)
                if result.get("score") is not None and number != UNDECIDED:
                    scores[labels[0]] = float(result["score"])
            if label is None and SIZE in task["data"]:
                label = canvas(*task["data"][SIZE])
        if label is None:
            if reading.size is None:
                raise InputError(f"{file} has no mask of {photo} and does not say its size: add --photos")
            label = canvas(*reading.size(name))
        return PhotoMask(name, label, photo, confidences=scores)

    return Source(classes, names, (file, interface), map(load, names, photos, tasks, drawn), lost)


def _place(mask: PhotoMask, prefix: str | None) -> str:
    """What comes before the photo's path: as given, or its folder, which is to lie in Label Studio's document root."""
    if prefix is not None:
        return prefix
    if mask.file is None or mask.photo is None:
        return LOCAL_FILES
    folder = mask.file.absolute().parents[len(PurePosixPath(mask.photo).parts) - 1].name
    return LOCAL_FILES + quote(f"{folder}/")


def _prediction(mask: PhotoMask, names: dict[int, str], index: int) -> dict[str, Any]:
    height, width = mask.label.shape
    results = []
    for number, flags in mask.regions():
        score = mask.confidences.get(names[number])
        results.append({
            "id": f"{index}-{number}",
            "type": BRUSH,
            "from_name": FROM,
            "to_name": TO,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            **({} if score is None else {"score": score}),
            "value": {"format": "rle", "rle": encode_brush(flags), BRUSH: [names[number]]},
        })  # fmt: skip
    lowest = min(mask.confidences.values(), default=None)
    return {"model_version": "getam", **({} if lowest is None else {"score": lowest}), "result": results}


def _newest(task: dict[str, Any]) -> list[dict[str, Any]]:
    """Results of the annotation or prediction that counts."""
    kept = [each for each in task.get("annotations") or [] if not each.get("was_cancelled")]
    drawn = kept or task.get("predictions") or [{"result": []}]
    return max(drawn, key=lambda each: str(each.get("updated_at") or each.get("created_at") or ""))["result"]


def _labels(result: dict[str, Any]) -> list[str]:
    """Label names of a brush stroke or polygon; none of another result."""
    kind = result.get("type")
    return list(result["value"][kind]) if kind in (BRUSH, POLYGON) else []


def _photo(task: dict[str, Any]) -> str:
    """The photo's path: as we have kept it, or what its URL says."""
    data = task["data"]
    if PHOTO in data:
        return str(data[PHOTO])
    url = str(
        data[DATA] if DATA in data else next(value for value in data.values() if isinstance(value, str))
    )
    parts = urlsplit(url)
    local = parse_qs(parts.query).get("d")
    return local[0] if local else unquote(parts.path).lstrip("/")


def _listed(interface: Path) -> list[str]:
    """The label names of a labelling interface, where there is one."""
    if not interface.is_file():
        return []
    try:
        return [label.attrib["value"] for label in ET.parse(interface).iter("Label")]
    except (ET.ParseError, KeyError) as error:
        raise InputError(
            f"{interface} is no labelling interface ({error}): copy it from the project again"
        ) from error
