"""A file or folder of tags, opened once for all formats that look at it."""

from __future__ import annotations

import codecs
import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from getam.errors import InputError

JSON_SUFFIXES = (".json", ".jsonl", ".ndjson", ".geojson")
TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")  # names an encoding that the text no longer has
ARCHIVE = b"PK\x03\x04"  # zip, and what Excel saves as its own


class Source:
    """What `--tags` names.

    Args:
        path: a file or a folder.
        argument: what follows the colon of `--format NAME:ARGUMENT`.
    """

    def __init__(self, path: Path, argument: str = "") -> None:
        self.path = path
        self.argument = argument
        self.is_folder = path.is_dir()

    @cached_property
    def text(self) -> str:
        """The file's text, UTF-8 or UTF-16. Raises `InputError` for a file that is missing, empty or no text."""
        path = self.path
        if not path.exists():
            raise InputError(f"tags file {path} does not exist: check the path.")
        if self.is_folder:
            raise InputError(
                f"tags file {path} is a folder: give the CSV file itself, with the columns image,tags, or a folder"
                " with one folder of photos per class."
            )
        content = path.read_bytes()
        if not content.strip():
            raise InputError(f"{path} is empty: write the header 'image,tags' and one row a photo.")
        if content.startswith(ARCHIVE):
            raise InputError(
                f"{path} is a zip archive or an Excel workbook: unpack it, or save the sheet as CSV in UTF-8."
            )
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            try:
                return content.decode("utf-16")
            except UnicodeDecodeError as error:
                raise InputError(f"{path} is broken UTF-16 text: save it as CSV in UTF-8.") from error
        if b"\0" in content:
            line = content[: content.index(b"\0")].count(b"\n") + 1
            raise InputError(
                f"{path}, line {line}: a binary file, not CSV text; export the tags as CSV in UTF-8."
            )
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise InputError(
                f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8; if this is a CSV file,"
                " save it again as CSV in UTF-8."
            ) from error

    @cached_property
    def is_json(self) -> bool:
        """Whether the file is meant to be JSON or JSON lines."""
        if self.is_folder or self.path.suffix.lower() in TABLE_SUFFIXES:
            return False
        return self.path.suffix.lower() in JSON_SUFFIXES or self.text.lstrip()[:1] in ("{", "[")

    @cached_property
    def json(self) -> Any:
        """The one JSON value of the file; None where there are several lines of JSON (`records` has them)."""
        try:
            return json.loads(self.text)
        except RecursionError as error:
            raise InputError(
                f"{self.path} nests too deeply to be a list of tags: export it again."
            ) from error
        except ValueError as error:
            if self.path.suffix.lower() in JSON_SUFFIXES[1:3] or str(error).startswith("Extra data"):
                return None
            line = getattr(error, "lineno", 1)
            raise InputError(
                f"{self.path}, line {line}: not valid JSON ({getattr(error, 'msg', error)}); export it again or correct"
                " that line."
            ) from error

    @cached_property
    def records(self) -> list[tuple[str, int, Any]]:
        """(place, number, value) of every entry of a JSON list, or of every line of JSON lines."""
        if isinstance(self.json, list):
            return [
                (f"{self.path}, item {number}", number, value) for number, value in enumerate(self.json, 1)
            ]
        if self.json is not None:
            return [(f"{self.path}, item 1", 1, self.json)]
        found = []
        for number, line in enumerate(self.text.splitlines(), start=1):
            if line.strip():
                try:
                    found.append((f"{self.path}, line {number}", number, json.loads(line)))
                except ValueError as error:
                    raise InputError(
                        f"{self.path}, line {number}: not valid JSON ({getattr(error, 'msg', error)}); write one JSON"
                        " object a line."
                    ) from error
        return found

    @cached_property
    def is_xml(self) -> bool:
        """Whether the file is meant to be XML."""
        if self.is_folder or self.path.suffix.lower() in TABLE_SUFFIXES:
            return False
        return self.path.suffix.lower() == ".xml" or self.text.lstrip().startswith("<?xml")

    @cached_property
    def xml(self) -> ElementTree.Element:
        """The root of an XML file. Raises `InputError` for what is no XML, and for definitions that could expand."""
        if "<!DOCTYPE" in self.text or "<!ENTITY" in self.text:
            raise InputError(
                f"{self.path} defines its own XML entities, which no export of tags does: remove the DOCTYPE."
            )
        try:
            return ElementTree.fromstring(_DECLARATION.sub("", self.text, count=1))
        except ElementTree.ParseError as error:
            raise InputError(
                f"{self.path}, line {error.position[0]}: not valid XML ({error}); export it again."
            ) from error
