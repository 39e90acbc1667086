"""Tars as webdataset writes them: the tags of `key.jpg` lie beside it, in `key.json`, `key.cls` or `key.txt`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from getam.data.formats.listing import Listing, Tagged, tagged
from getam.data.formats.plain_json import TAG_KEYS, names_of
from getam.data.formats.source import Source
from getam.data.photo_folder import PHOTO_SUFFIXES
from getam.data.tars import names_tars, open_file, photos, root_of, samples, tars_of
from getam.errors import InputError

KINDS = ("json", "cls", "txt")
"""Where tags are looked for, in this order; a JSON object without any (`TAG_KEYS`) says nothing."""


def looks(source: Source) -> bool:
    """A tar, or a pattern of tars."""
    return names_tars(source.path)


def read(source: Source) -> Listing:
    """Every photo with its tags. Raises `InputError`, naming tar and key, for a photo without a file of tags.

    The argument is the kind of file that has the tags, such as "labels.json"; one of `KINDS` when left out.
    """
    if not names_tars(source.path):
        raise InputError(
            f"{source.path} is no tar: give one, or a pattern such as photos-{{000000..000009}}.tar."
        )
    root = root_of(source.path)
    kinds = (source.argument.lower().lstrip("."),) if source.argument else KINDS
    rows: list[Tagged] = []
    for tar in tars_of(source.path):
        files = samples(tar)
        for key, photo in photos(tar, PHOTO_SUFFIXES).items():
            where = f"{tar}, {key}"
            image = (tar / photo).relative_to(root).as_posix()
            row = _row(
                image, [tar / files[key][kind] for kind in kinds if kind in files[key]], where, len(rows) + 1
            )
            if row is None:
                raise InputError(
                    f"{where}: no {' or '.join(f'.{kind}' for kind in kinds)} file beside it has tags: add one, empty"
                    ' for a photo of none of the classes, or say which has them with --format "webdataset:KIND".'
                )
            rows.append(row)
    return Listing("webdataset", tuple(rows))


def _row(image: str, files: list[Path], where: str, number: int) -> Tagged | None:
    for file in files:
        with open_file(file) as opened:
            content = opened.read()
        tags = _tags(content, file.suffix.lower() == ".json", f"{where}, {file.name}")
        if tags is not None:
            return tagged(image, tags, where, line=number)
    return None


def _tags(content: bytes, is_json: bool, where: str) -> list[Any] | None:
    """Tags of a file: JSON, or text with one a line or between semicolons; None: it does not speak of tags."""
    try:
        text = content.decode("utf-8-sig")
        if not is_json:
            return [tag for line in text.splitlines() for tag in line.split(";")]
        found = json.loads(text) if text.strip() else []
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not UTF-8 text, or not valid JSON ({error}); write it again.") from error
    if isinstance(found, dict):
        key = next((key for key in TAG_KEYS if key in found), None)
        return None if key is None else names_of(found[key], where)
    return names_of(found, where)
