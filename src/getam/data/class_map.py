"""A small file that renames, merges and drops classes, for tags and for the class lists of masks alike."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import yaml

from getam.data.formats.listing import Listing
from getam.data.tags import BACKGROUND, clean_name, is_one_line, suggest
from getam.errors import InputError

DROPPED = ""
"""What a dropped class is called: no class has this name, so its pixels are nobody's."""

HEADER = ("from", "to")


@dataclass(frozen=True)
class ClassMap:
    """Names of classes and what they are to be called.

    Attributes:
        path: of the file, for errors.
        names: a name as it is written → the class; `DROPPED` for none, `background` for what counts as that. Another
            case will do where a name is not written exactly so.
        lines: the same names → their lines.
    """

    path: Path
    names: Mapping[str, str]
    lines: Mapping[str, int] = field(default_factory=dict)

    def of(self, name: str) -> str:
        """What a class is called from now on; a name that the file has not stays.

        >>> ClassMap(Path("map.csv"), {"lorry": "truck"}).of("Lorry")
        'truck'
        """
        if name in self.names:
            return self.names[name]
        return self._folded.get(name.casefold(), name)

    def classes(self, names: Iterable[str]) -> tuple[str, ...]:
        """The class list of masks: label n is still the n-th; what is merged has its name twice."""
        return tuple(self.of(name) for name in names)

    def listing(self, listing: Listing) -> Listing:
        """The same photos under the new names; tags that are dropped or background are gone."""
        rows = []
        for row in listing.rows:
            tags, unknown = self._tags(row.tags), self._tags(row.unknown)
            left = tuple(name for name in unknown if name not in tags)
            rows.append(replace(row, tags=tags, unknown=left))
        return replace(listing, rows=tuple(rows))

    def require_found(self, names: Iterable[str]) -> None:
        """Raises `InputError` where the file has a name that is none of those."""
        there = tuple(dict.fromkeys(names))
        folded = {name.casefold() for name in there}
        for name, line in self.lines.items():
            if name.casefold() not in folded:
                raise InputError(
                    f"{self.path}, line {line}: nothing is called {name!r}; {suggest(name, there)}."
                )

    @cached_property
    def _folded(self) -> dict[str, str]:
        return {name.casefold(): to for name, to in reversed(tuple(self.names.items()))}

    def _tags(self, names: Sequence[str]) -> tuple[str, ...]:
        found = dict.fromkeys(map(self.of, names))
        return tuple(name for name in found if name not in (DROPPED, BACKGROUND))


def read_class_map(path: Path | str) -> ClassMap:
    """Read `from,to` lines, or from YAML (.yaml, .yml) `from: to`.

    Two names with one `to` are merged; one with an empty `to` (in YAML ~) is dropped: its tag is taken away and its
    pixels are nobody's. A `to` of `background` makes its pixels background. Names are replaced once, so two can swap.

    Raises `InputError`, naming file and line, for anything else.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"map {path} does not exist or is no file: write one from,to line for each class.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"map {path} is not UTF-8 text: write one from,to line for each class.") from error
    pairs = _yaml_pairs(path, text) if path.suffix.lower() in (".yaml", ".yml") else _csv_pairs(path, text)
    names: dict[str, str] = {}
    lines: dict[str, int] = {}
    for line, before, after in pairs:
        name, to = clean_name(before), clean_name(after)
        if not name:
            raise InputError(f"{path}, line {line}: there is no name before {to!r}; write from,to.")
        if name.casefold() == BACKGROUND:
            raise InputError(f"{path}, line {line}: {name!r} is always label 0 and keeps its name.")
        if not is_one_line(to):
            raise InputError(f"{path}, line {line}: {to!r} contains an invisible character; rename it.")
        if name in names:
            raise InputError(
                f"{path}, line {line}: {name!r} is already on line {lines[name]}; give it one name."
            )
        names[name] = BACKGROUND if to.casefold() == BACKGROUND else to
        lines[name] = line
    if not names:
        raise InputError(f"map {path} is empty: write one from,to line for each class.")
    return ClassMap(path, names, lines)


def _csv_pairs(path: Path, text: str) -> Iterator[tuple[int, str, str]]:
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = next((mark for mark in ",;\t" if mark in first), ",")
    reader = csv.reader(text.splitlines(), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            cells = tuple(cell.strip() for cell in row)
            if not any(cells) or (reader.line_num == 1 and tuple(map(str.casefold, cells)) == HEADER):
                continue
            if len(cells) != 2:
                raise InputError(
                    f"{path}, line {reader.line_num}: {delimiter.join(row)!r} is not from{delimiter}to; put names with"
                    f" {delimiter!r} in quotes, and end a line with {delimiter!r} to drop a class."
                )
            yield reader.line_num, *cells
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}; check the quotes.") from error


def _yaml_pairs(path: Path, text: str) -> Iterator[tuple[int, str, str]]:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}, line {line}: no YAML ({error.problem}); write from: to.") from error
    except RecursionError:
        raise InputError(
            f"{path} nests too deeply to be a map of names; write from: to, one a line."
        ) from None
    except yaml.YAMLError as error:
        raise InputError(f"{path} is no YAML ({' '.join(str(error).split())}); write from: to.") from error
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        raise InputError(f"{path}, line {root.start_mark.line + 1}: no mapping; write from: to, one a line.")
    for key, value in root.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
            raise InputError(f"{path}, line {line}: not a name for a name; write from: to, one a line.")
        dropped = value.tag == "tag:yaml.org,2002:null"
        yield line, str(key.value), "" if dropped else str(value.value)
