"""Label Studio's exports JSON and JSON-MIN: choices, taxonomies and the labels of boxes, polygons and brushes.

Tasks nobody annotated are left out. What some annotators of a task say and others do not is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

from getam.data.formats.listing import Listing, tagged
from getam.data.formats.source import Source
from getam.errors import InputError

UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the name of a file that is uploaded."""
LABEL_KEYS = (
    "choices", "taxonomy", "labels", "rectanglelabels", "polygonlabels", "brushlabels", "keypointlabels",
    "ellipselabels",
)  # fmt: skip
OWN_KEYS = ("annotation_id", "annotator", "lead_time")
"""Keys by which a record of JSON-MIN is known."""
NOT_ALIKE = ("id", "created_at", "updated_at", *OWN_KEYS)


def looks(source: Source) -> bool:
    """A list of tasks."""
    if not source.is_json or not isinstance(source.json, list) or not source.json:
        return False
    first = source.json[0]
    return isinstance(first, dict) and (
        (
            isinstance(first.get("data"), dict)
            and not _none_of(first, ("annotations", "completions", "predictions"))
        )
        or not _none_of(first, OWN_KEYS)
    )


def read(source: Source) -> Listing:
    """Photos and what was said of them. Raises `InputError`, naming file and task."""
    found: dict[str, tuple[str, int, list[set[str]]]] = {}
    left_out = 0
    minimal = not isinstance(source.records[0][2].get("data"), dict)
    for where, number, task in source.records:
        if not isinstance(task, dict):
            raise InputError(f"{where}: {str(task)[:60]!r} is no task; export it again.")
        image = _image(task if minimal else task.get("data") or {}, where)
        answers = [_minimal(task, image)] if minimal else list(_answers(task))
        if answers:
            found.setdefault(image, (where, number, []))[2].extend(answers)
        else:
            left_out += 1
    rows = []
    for image, (where, number, answers) in found.items():
        agreed = set.intersection(*answers)
        disputed = sorted(set.union(*answers) - agreed)
        rows.append(tagged(_file_name(image), sorted(agreed), where, unknown=disputed, line=number))
    remarks = (f"left out: {left_out} that nobody annotated",) if left_out else ()
    words = "Label Studio, JSON-MIN" if minimal else "Label Studio"
    return Listing(words, tuple(rows), ("images",), remarks)


def _image(data: Mapping[str, Any], where: str) -> str:
    """The photo: the value called image, or the only text there that looks like the name of a file."""
    named = [str(value) for key, value in data.items() if isinstance(value, str) and key not in NOT_ALIKE]
    if isinstance(data.get("image"), str):
        return str(data["image"])
    files = [value for value in named if re.search(r"\.\w{2,5}(\?.*)?$", value)]
    if len(files) != 1:
        raise InputError(
            f'{where}: the task names no photo; call it "image" in its data and export it again.'
        )
    return files[0]


def _answers(task: Mapping[str, Any]) -> Iterator[set[str]]:
    """The tags of each annotation that was not cancelled; a confirmed one (ground truth) stands for all."""
    given = [
        each
        for each in task.get("annotations") or task.get("completions") or []
        if isinstance(each, dict) and not each.get("was_cancelled") and not each.get("skipped")
    ]
    for annotation in [each for each in given if each.get("ground_truth")] or given:
        yield {
            name for result in annotation.get("result") or [] if isinstance(result, dict)
            for name in _names(result.get("value") or {})
        }  # fmt: skip


def _names(value: Any) -> Iterator[str]:
    for key in LABEL_KEYS:
        for name in value.get(key) or [] if isinstance(value, dict) else []:
            yield (
                str(name[-1]) if isinstance(name, list) else str(name)
            )  # a taxonomy's path ends in the class


def _minimal(task: Mapping[str, Any], image: str) -> set[str]:
    names: set[str] = set()
    for key, value in task.items():
        if key in NOT_ALIKE or value == image:
            continue
        if isinstance(value, str):
            names.add(value)
        elif isinstance(value, dict):
            names.update(str(name) for name in value.get("choices") or [])
        elif isinstance(value, list):
            for each in value:
                names.update([each] if isinstance(each, str) else _names(each))
    return names


def _file_name(image: str) -> str:
    """The file behind an address.

    >>> _file_name("/data/upload/3/1a2b3c4d-cat_01.jpg"), _file_name("/data/local-files/?d=farm/a.jpg")
    ('cat_01.jpg', 'farm/a.jpg')
    >>> _file_name("s3://bucket/farm/a%20b.jpg"), _file_name("farm/a.jpg")
    ('a b.jpg', 'farm/a.jpg')
    """
    address = urlparse(image)
    if "local-files" in address.path and (given := parse_qs(address.query).get("d")):
        return given[0]
    if "/upload/" in image:
        return UPLOADED.sub("", unquote(address.path).rpartition("/")[2], count=1)
    return unquote(address.path).rpartition("/")[2] if address.scheme and address.netloc else image


def _none_of(record: Mapping[str, Any], keys: tuple[str, ...]) -> bool:
    return not any(key in record for key in keys)
