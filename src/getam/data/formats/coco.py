"""COCO's `instances_*.json`, and what writes like it: which categories have an annotation; where, is not read.

In federated sets, as LVIS, photos say for which categories somebody looked (`neg_category_ids`); all others are
unknown. Categories of `not_exhaustive_category_ids` are unknown where they have no annotation.
"""

from __future__ import annotations

from typing import Any

from getam.data.formats.listing import Listing, tagged
from getam.data.formats.source import Source
from getam.errors import InputError


def looks(source: Source) -> bool:
    """An object with images and annotations."""
    return (
        source.is_json and isinstance(source.json, dict) and {"images", "annotations"} <= source.json.keys()
    )


def read(source: Source) -> Listing:
    """Photos and the categories annotated in them. Raises `InputError`, naming file and entry."""
    path = source.path
    names = {
        _key(each, "id", f"{path}, category {n}"): _key(each, "name", f"{path}, category {n}")
        for n, each in enumerate(_list(source, "categories"), start=1)
    }
    images = _list(source, "images")
    ids = [_key(image, "id", f"{path}, image {n}") for n, image in enumerate(images, start=1)]
    having: dict[Any, dict[str, None]] = {each: {} for each in ids}
    annotations = [] if source.json.get("annotations", ...) is None else _list(source, "annotations")
    for number, annotation in enumerate(annotations, start=1):
        where = f"{path}, annotation {number}"
        image, category = _key(annotation, "image_id", where), _key(annotation, "category_id", where)
        if category not in names:
            raise InputError(f'{where}: there is no category {category!r}; add it to "categories".')
        if image not in having:
            raise InputError(f'{where}: there is no image {image!r}; add it to "images".')
        having[image][names[category]] = None
    federated = any("neg_category_ids" in image for image in images)
    rows = []
    for number, (image_id, image) in enumerate(zip(ids, images, strict=True), start=1):
        where = f"{path}, image {number}"
        unknown = [names[c] for c in image.get("not_exhaustive_category_ids", ()) if c in names]
        if federated:
            looked = set(image.get("neg_category_ids", ()))
            unknown += [name for category, name in names.items() if category not in looked]
        file = (
            image.get("file_name") or str(image.get("coco_url", "")).rpartition("/")[2]
        )  # LVIS has the address only
        rows.append(tagged(file, having[image_id], where, unknown=unknown, line=number))
    return Listing("COCO, category ids only", tuple(rows), ("images", "data"))


def _list(source: Source, name: str) -> list[Any]:
    found = source.json.get(name) if isinstance(source.json, dict) else None
    if not isinstance(found, list):
        raise InputError(f'{source.path}: "{name}" is no list, as COCO has it; export it again.')
    return found


def _key(record: Any, key: str, where: str) -> Any:
    if not isinstance(record, dict) or not isinstance(record.get(key), (str, int)):
        raise InputError(f'{where}: has no "{key}"; export it again.')
    return record[key]
