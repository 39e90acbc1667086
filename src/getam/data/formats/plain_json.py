"""JSON as people write it by hand: a list or lines of {"image": …, "tags": […]}, or one object photo → tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from getam.data.formats.listing import Listing, Tagged, tagged
from getam.data.formats.source import Source
from getam.errors import InputError

IMAGE_KEYS = ("image", "file", "file_name", "filename", "path", "filepath", "photo")
TAG_KEYS = ("tags", "labels", "classes", "tag", "label", "class", "categories", "category")
UNKNOWN_KEY = "unknown"


def looks(source: Source) -> bool:
    """Any JSON that is nothing else."""
    return source.is_json


def read(source: Source) -> Listing:
    """Photos of a JSON file. Raises `InputError`, naming file and entry."""
    if isinstance(source.json, dict) and not _first(source.json, IMAGE_KEYS):
        rows = [
            _entry(f"{source.path}, key {name!r}", number, name, value, source.json)
            for number, (name, value) in enumerate(source.json.items(), start=1)
        ]
        return Listing("JSON, photo → tags", tuple(rows))
    rows = []
    for where, number, record in source.records:
        if not isinstance(record, dict):
            raise InputError(
                f'{where}: {str(record)[:60]!r} is no entry; write {{"image": "a.jpg", "tags": ["cat"]}}.'
            )
        image, tags = _first(record, IMAGE_KEYS), _first(record, TAG_KEYS)
        if not image or not isinstance(record[image], str):
            raise InputError(
                f'{where}: the entry names no photo; write {{"image": "a.jpg", "tags": ["cat"]}}.'
            )
        if not tags:
            raise InputError(f'{where}: the entry has no tags; write "tags": [] for none of the classes.')
        rows.append(_entry(where, number, record[image], record[tags], record))
    return Listing("JSON" if source.json is not None else "JSON lines", tuple(rows))


def _entry(where: str, number: int, image: str, tags: Any, record: Mapping[str, Any]) -> Tagged:
    """Tags are a list, one name, or an object name → 1, 0 or null, which says that nobody looked."""
    unknown = (
        list(names_of(record.get(UNKNOWN_KEY), where)) if image != UNKNOWN_KEY and tags is not None else []
    )
    if isinstance(tags, dict):
        odd = [(name, state) for name, state in tags.items() if state not in (1, 0, -1, None)]
        if odd:
            raise InputError(
                f"{where}: {odd[0][0]!r} is {odd[0][1]!r}; write 1 where the class is, 0 where it is not, null where"
                " nobody looked."
            )
        unknown += [name for name, state in tags.items() if state in (-1, None)]
        tags = [name for name, state in tags.items() if state == 1]
    return tagged(image, names_of(tags, where), where, unknown=unknown, line=number)


def names_of(tags: Any, where: str) -> list[Any]:
    """Tags of a list, or of text with semicolons between; raises `InputError`, beginning with `where`, for others."""
    if tags is None:
        return []
    if isinstance(tags, str):
        return tags.split(";")
    if not isinstance(tags, list):
        raise InputError(f'{where}: {str(tags)[:60]!r} is no list of tags; write ["cat", "dog"].')
    return tags


def _first(record: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    return next((key for key in keys if key in record), None)
