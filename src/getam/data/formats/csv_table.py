"""CSV: a column of tags or a column per class; commas, semicolons or tabs, as people and Excel write them.

`image,tags` is getam's own, the tags joined by `;`, read strictly; in `image,words` a tag may have synonyms,
`cat|kitten`. Else the photo's column may have another of the
names people give it, and so may the column of tags; without one, every column of 1 and 0 is a class. There an empty
cell, −1 or `?` says that nobody looked; where the file has no 0 at all, an empty cell is a no.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from getam.data.formats.listing import Listing, Tagged, tagged
from getam.data.formats.source import Source
from getam.data.tags import SYNONYMS, synonyms
from getam.errors import InputError

IMAGE, TAGS, WORDS = "image", "tags", "words"
IMAGE_NAMES = (
    IMAGE, "filename", "file_name", "file name", "file", "image_name", "image name", "image_path", "image path",
    "filepath", "path", "photo", "picture", "img", "image_id", "imageid",
)  # fmt: skip
TAG_NAMES = (
    TAGS, "tag", "labels", "label", "classes", "class", "categories", "category", "class_name", "choice",
)  # fmt: skip
UNKNOWN_NAMES = ("unknown", "?", "not annotated", "not_annotated")
NO_CLASS = (
    "",
    "id",
    "index",
    "width",
    "height",
    "split",
    "fold",
    "set",
    "size",
    "annotator",
    "url",
    "md5",
    "sha256",
)
"""Columns beside those of classes; their numbers are none."""
YES = ("1", "1.0", "true", "yes", "y", "x", "present")
NO = ("0", "0.0", "false", "no", "n", "absent")
EMPTY = ""
UNKNOWN = (EMPTY, "-1", "-1.0", "?", "unknown", "nan", "na", "n/a", "null", "none", "-")
DELIMITERS = (",", ";", "\t")
CALLED = {",": "CSV", ";": "CSV with semicolons", "\t": "tab-separated values"}
Rows = Iterator[tuple[int, list[str]]]


def looks(source: Source) -> bool:
    """Any text that is nothing else."""
    return not source.is_folder and not source.is_json and not source.is_xml


def read(source: Source) -> Listing:
    """Rows of a CSV file. Raises `InputError`, naming file and line."""
    path = source.path
    skipped, delimiter = _delimiter(source.text)
    reader = _cells(path, source.text, delimiter, skipped)
    line, header = next(((line, cells) for line, cells in reader), (0, []))
    if not header:
        raise InputError(f"{path} has only blank lines: write the header 'image,tags' and one row a photo.")
    columns = [cell.strip().lower() for cell in header]
    own = WORDS if WORDS in columns and TAGS not in columns else TAGS
    if delimiter == "," and columns.count(IMAGE) == columns.count(own) == 1:
        return _own(path, columns, own, reader)
    image = next((columns.index(name) for name in IMAGE_NAMES if columns.count(name) == 1), None)
    tags = next((columns.index(name) for name in TAG_NAMES if columns.count(name) == 1), None)
    if image is None or len(columns) < 2 or columns.count(TAGS) > 1:
        raise _bad_header(path, header, columns, line)
    called = CALLED[delimiter] + (", UTF-16" if _is_utf16(path) else "")
    if tags is not None:
        unknown = next((columns.index(name) for name in UNKNOWN_NAMES if columns.count(name) == 1), None)
        return _list_column(path, columns, image, tags, unknown, reader, called)
    return _one_hot(path, header, line, image, reader, called)


def _own(path: Path, columns: list[str], named: str, reader: Rows) -> Listing:
    rows: dict[str, Tagged] = {}
    joined: dict[str, tuple[str, ...]] = {}
    for line, cells in reader:
        where = f"{path}, line {line}"
        if len(cells) != len(columns):
            raise InputError(
                f"{where}: {len(cells)} columns where the header has {len(columns)}; join the tags of a photo by"
                " ';' and quote cells that contain commas."
            )
        row = tagged(cells[columns.index(IMAGE)], cells[columns.index(named)].split(";"), where, line=line)
        if row.image in rows:
            raise InputError(
                f"{where}: {row.image} is already on line {rows[row.image].line}; join its tags in one row."
            )
        rows[row.image] = row if named == TAGS else _join_synonyms(row, joined)
    return _listing(path, "CSV", list(rows.values()), plain=True, joined=joined)


def _join_synonyms(row: Tagged, joined: dict[str, tuple[str, ...]]) -> Tagged:
    """The first of the synonyms of each word for its tags; all go to `joined`."""
    for word in row.tags:
        try:
            group = synonyms(word)
        except InputError as error:
            raise InputError(f"{row.where}: {error}") from None
        if (known := joined.setdefault(group[0], group)) != group:
            raise InputError(
                f"{row.where}: {word!r} and an earlier {SYNONYMS.join(known)!r} are one class with two lists of"
                " synonyms: write the same everywhere."
            )
    return replace(row, tags=tuple(dict.fromkeys(synonyms(word)[0] for word in row.tags)))


def _list_column(
    path: Path, columns: list[str], image: int, tags: int, unknown: int | None, reader: Rows, called: str
) -> Listing:
    """Further rows of a photo, as of one box each, add their tags."""
    found: dict[str, Tagged] = {}
    for line, cells in reader:
        where = f"{path}, line {line}"
        _check_width(where, cells, columns)
        row = tagged(
            cells[image], split_tags(cells[tags]), where, line=line,
            unknown=() if unknown is None else split_tags(cells[unknown]),
        )  # fmt: skip
        if row.image in found:
            first = found[row.image]
            row = tagged(
                row.image, (*first.tags, *row.tags), first.where, line=first.line,
                unknown=(*first.unknown, *row.unknown),
            )  # fmt: skip
        found[row.image] = row
    return _listing(path, f"{called}, {columns[image]} and {columns[tags]}", list(found.values()))


def _one_hot(path: Path, header: list[str], line: int, image: int, reader: Rows, called: str) -> Listing:
    columns = [cell.strip() for cell in header]
    rows = []
    for number, cells in reader:
        _check_width(f"{path}, line {number}", cells, columns)
        rows.append((number, [cell.strip() for cell in cells]))
    if not rows:
        return _listing(path, called, [])
    classes = [
        place for place in range(len(columns)) if place != image and _is_class(path, columns, place, rows)
    ]
    if not classes:
        raise _bad_header(path, header, [cell.lower() for cell in columns], line)
    for place in classes:
        if columns.count(columns[place]) > 1:
            raise InputError(f"{path}, line {line}: two columns are called {columns[place]!r}; rename one.")
    asked = any(cells[place].lower() in NO for _, cells in rows for place in classes)
    unknown = UNKNOWN if asked else UNKNOWN[1:]
    listed = []
    for number, cells in rows:
        states = {columns[place]: cells[place].lower() for place in classes}
        listed.append(
            tagged(
                cells[image], [name for name, state in states.items() if state in YES], f"{path}, line {number}",
                unknown=[name for name, state in states.items() if state in unknown], line=number,
            )
        )  # fmt: skip
    passed = [columns[p] for p in range(len(columns)) if p != image and p not in classes and columns[p]]
    empty = any(not cells[place] for _, cells in rows for place in classes)
    remarks = [f"passed over: {', '.join(passed)}"] if passed else []
    if empty:
        remarks.append("an empty cell: nobody looked" if asked else "an empty cell: not there")
    return _listing(path, f"{called}, one-hot", listed, remarks=tuple(remarks))


def _is_class(path: Path, columns: list[str], place: int, rows: Sequence[tuple[int, list[str]]]) -> bool:
    """Whether a column says of every photo whether it has a class. Raises `InputError` for one that mostly does."""
    if columns[place].lower() in NO_CLASS or columns[place].lower().startswith("unnamed:"):
        return False
    odd = [(line, cells[place]) for line, cells in rows if cells[place].lower() not in (*YES, *NO, *UNKNOWN)]
    if odd and 2 * len(odd) < len(rows) and any(cells[place] for _, cells in rows):
        line, cell = odd[0]
        raise InputError(
            f"{path}, line {line}: {cell!r} in column {columns[place]!r} is neither 1 nor 0; write 1 where the class"
            " is, 0 where it is not, and ? where nobody looked."
        )
    return not odd and any(cells[place] for _, cells in rows)


def split_tags(cell: str) -> list[str]:
    """The tags of one cell: joined by `;`, `,` or `|`, a list as Python or JSON writes it, or Label Studio's choices.

    >>> split_tags("cat; dog"), split_tags("['cat', 'dog']"), split_tags('{"choices": ["cat", "dog"]}')
    (['cat', 'dog'], ['cat', 'dog'], ['cat', 'dog'])
    """
    cell = cell.strip()
    if cell.startswith("{"):
        try:
            chosen = json.loads(cell).get("choices", [])
            return [str(each) for each in chosen]
        except ValueError:
            pass
    if cell.startswith("[") and cell.endswith("]"):
        return [part.strip().strip("'\"") for part in cell[1:-1].split(",")]
    return [part.strip() for part in re.split(r"[;,|]", cell)]


def _delimiter(text: str) -> tuple[int, str]:
    """How many first lines are no table (Excel's `sep=;`), and what separates the cells of the header."""
    lines = text.splitlines()
    if lines and (found := re.fullmatch(r"\"?sep=(.)\"?", lines[0].strip("\ufeff "))):
        return 1, found[1]
    header = next((line for line in lines if line.strip()), "")[:10_000]
    for delimiter in DELIMITERS:
        cells = [cell.strip().lower() for cell in next(csv.reader([header], delimiter=delimiter), [])]
        if len(cells) > 1 and any(name in cells for name in IMAGE_NAMES):
            return 0, delimiter
    return 0, ","


def _cells(path: Path, text: str, delimiter: str, skipped: int) -> Rows:
    """(line, cells) of every row that is not blank. Raises `InputError` where the quoting is broken."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            blank = not any(cell.strip() for cell in cells) and (len(cells) < 2 or delimiter != ",")
            if not blank and line > skipped:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}, line {line}: not valid CSV ({error}); put cells with commas or quotes in double quotes and"
            " double the quotes inside."
        ) from error


def _check_width(where: str, cells: list[str], columns: list[str]) -> None:
    """Cells that are missing or too many. Raises `InputError`; empty ones at the end, which Excel adds, are cut off."""
    while len(cells) > len(columns) and not cells[-1].strip():
        cells.pop()
    if len(cells) != len(columns):
        raise InputError(
            f"{where}: {len(cells)} columns where the header has {len(columns)}; put a cell that holds several tags in"
            " double quotes."
        )


def _listing(
    path: Path, words: str, rows: list[Tagged], *, remarks: tuple[str, ...] = (), plain: bool = False,
    joined: Mapping[str, tuple[str, ...]] | None = None,
) -> Listing:  # fmt: skip
    if not rows:
        raise InputError(
            f"{path} has a header and no rows: write one row a photo, for example 'a.jpg,cat;dog'."
        )
    return Listing(words, tuple(rows), remarks=remarks, plain=plain, synonyms=joined or {})


def _bad_header(path: Path, header: list[str], columns: list[str], line: int) -> InputError:
    needed = IMAGE if not any(columns.count(name) == 1 for name in IMAGE_NAMES) else TAGS
    shown = ",".join(header)
    shown = shown if len(shown) <= 80 else shown[:80] + "…"
    hint = "; separate columns by commas, tags by semicolons" if ";" in shown else ""
    how = "no" if needed not in columns else "more than one"
    return InputError(
        f"{path}, line {line}: the header {shown!r} has {how} column {needed!r}; it must be 'image,tags'{hint}."
    )


def _is_utf16(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) in (b"\xff\xfe", b"\xfe\xff")
