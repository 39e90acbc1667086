"""FiftyOne's exports: FiftyOneDataset (samples.json), and the image classification and detection ones (labels.json).

Photos whose label is null are left out: nobody looked at them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from getam.data.formats.listing import Listing, Tagged, tagged
from getam.data.formats.source import Source
from getam.errors import InputError

FILES = ("samples.json", "labels.json")
FIELD = "ground_truth"
KINDS = {
    "Classification": None,
    "Classifications": "classifications",
    "Detection": None,
    "Detections": "detections",
}


def looks(source: Source) -> bool:
    """One of the two files, or a folder that has one."""
    if source.is_folder:
        return any((source.path / name).is_file() and looks(Source(source.path / name)) for name in FILES)
    if not source.is_json or not isinstance(source.json, dict):
        return False
    samples, labels = source.json.get("samples"), source.json.get("labels")
    if isinstance(samples, list):
        return all(isinstance(each, dict) and "filepath" in each for each in samples[:1])
    return isinstance(labels, dict) and "classes" in source.json


def read(source: Source) -> Listing:
    """Photos and their labels. Raises `InputError`, naming file and sample."""
    if source.is_folder:
        source = Source(next(source.path / n for n in FILES if (source.path / n).is_file()))
    if not looks(source):
        raise InputError(f"{source.path} is no {' or '.join(FILES)} as FiftyOne writes it: export it again.")
    rows = _samples(source) if "samples" in source.json else _labels(source)
    kept = tuple(row for row in rows if row is not None)
    remarks = (f"left out: {len(rows) - len(kept)} without a label",) if len(kept) < len(rows) else ()
    return Listing("FiftyOne", kept, (".", "data"), remarks)


def _samples(source: Source) -> list[Tagged | None]:
    samples = source.json["samples"]
    fields = sorted(
        {
            name for sample in samples if isinstance(sample, dict)
            for name, value in sample.items() if isinstance(value, dict) and value.get("_cls") in KINDS
        }
    )  # fmt: skip
    field = FIELD if FIELD in fields or not fields else fields[0]
    if len(fields) > 1 and field != FIELD:
        raise InputError(
            f"{source.path} has several fields of labels ({', '.join(fields)}) and none is called {FIELD}: export the"
            " one that is meant."
        )
    rows: list[Tagged | None] = []
    for number, sample in enumerate(samples, start=1):
        where = f"{source.path}, sample {number}"
        if not isinstance(sample, dict) or not isinstance(sample.get("filepath"), str):
            raise InputError(f'{where}: it has no "filepath"; export it again.')
        value = sample.get(field)
        rows.append(
            None if value is None else tagged(sample["filepath"], _named(value, where), where, line=number)
        )
    return rows


def _named(value: Mapping[str, Any], where: str) -> list[Any]:
    if not isinstance(value, dict) or value.get("_cls") not in KINDS:
        raise InputError(
            f"{where}: its labels are neither classifications nor detections; export such a field."
        )
    several = KINDS[value["_cls"]]
    found = [value] if several is None else value.get(several) or []
    return [each.get("label") for each in found if isinstance(each, dict) and each.get("label") is not None]


def _labels(source: Source) -> list[Tagged | None]:
    classes = source.json["classes"]
    rows: list[Tagged | None] = []
    for number, (name, label) in enumerate(source.json["labels"].items(), start=1):
        where = f"{source.path}, label of {name!r}"
        if label is None:
            rows.append(None)
            continue
        found = label if isinstance(label, list) else [label]
        found = [each.get("label") if isinstance(each, dict) else each for each in found]
        rows.append(tagged(name, [_class(each, classes, where) for each in found], where, line=number))
    return rows


def _class(label: Any, classes: Any, where: str) -> Any:
    """A class by its number in "classes", or by its name where there is no such list."""
    if not isinstance(label, int) or isinstance(label, bool) or not isinstance(classes, list):
        return label
    if not 0 <= label < len(classes):
        raise InputError(f'{where}: there is no class {label}; "classes" has {len(classes)}.')
    return classes[label]
