"""Reading tags.csv: one photo a row, `image,tags`, the tags of a photo joined by `;`.

Or words.csv, `image,words`: tags for an image–text model, where a tag may have synonyms, `cat|kitten`.
"""

from __future__ import annotations

import csv
import difflib
import io
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from getam.errors import InputError

MAX_CLASSES = 254
"""Masks are 8-bit: 0 is background and 255 is ignore, which leaves 1–254."""

JOINERS = "\u200c\u200d"
FLAG_LETTERS = range(0xE0020, 0xE0080)
"""They follow the black flag, for England and others."""

SYNONYMS = "|"
"""Between words that mean one class: the first is its name."""

BACKGROUND = "background"
"""The name of label 0: never a tag."""


@dataclass(frozen=True)
class TagRow:
    """One photo of tags.csv: its path as written (with forward slashes), its tags and its line."""

    image: str
    tags: tuple[str, ...]
    """Tags among the classes, in the order of the classes; empty for a photo with none of them."""
    line: int
    others: tuple[str, ...] = ()
    """Tags outside a class subset, sorted; always empty without one."""


@dataclass(frozen=True)
class TagTable:
    """Everything tags.csv says: the classes (without background) and the rows, in the order of the file."""

    classes: tuple[str, ...]
    rows: tuple[TagRow, ...]
    synonyms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of a column `words`: class → all its words, its name first; empty for a column `tags`."""


def read_tags(path: Path | str, classes: Sequence[str] | None = None) -> TagTable:
    """Read and check a tags.csv.

    The file is UTF-8 (with or without a byte order mark) and begins with `image,tags`; further columns and
    blank lines are passed over. An empty tags cell is a photo that shows none of the classes. In a column called
    `words` instead of `tags`, `cat|kitten` is the tag cat, of which kitten is a synonym.

    `classes` selects a subset, in that order; the tags outside it are kept in `TagRow.others`. Without it the
    classes are all tags of the file, sorted. Raises `InputError`, naming file and line, for anything else.
    """
    path = Path(path)
    found, joined = _read_rows(path)
    known = sorted({tag for _, tags, _ in found for tag in tags})
    if classes is None:
        if not known:
            raise InputError(
                f"{path} has {len(found)} rows and no tag in any of them: fill in the tags column."
            )
        chosen = tuple(known)
    else:
        chosen = _check_classes(path, tuple(classes), known)
    if len(chosen) > MAX_CLASSES:
        raise InputError(
            f"{path} has {len(chosen)} classes, but 8-bit masks have room for {MAX_CLASSES}: select fewer"
            " with `classes`."
        )
    order = {name: place for place, name in enumerate(chosen)}
    rows = tuple(
        TagRow(
            image=image,
            tags=tuple(sorted((tag for tag in tags if tag in order), key=order.__getitem__)),
            line=line,
            others=tuple(sorted(tag for tag in tags if tag not in order)),
        )
        for image, tags, line in found
    )
    return TagTable(classes=chosen, rows=rows, synonyms={c: joined[c] for c in chosen if c in joined})


def suggest(name: str, known: Sequence[str]) -> str:
    """The end of an error about an unknown name: the closest known one, then the known ones.

    >>> suggest("hrose", ["cat", "horse"])
    "did you mean 'horse'? Known: cat, horse"
    """
    close = difflib.get_close_matches(name, known, n=1)
    listed = ", ".join(known[:30]) + (f" and {len(known) - 30} more" if len(known) > 30 else "")
    return (f"did you mean {close[0]!r}? " if close else "") + f"Known: {listed or 'none'}"


def synonyms(word: str) -> tuple[str, ...]:
    """The words between "|", without space around.

    Raises:
        InputError: one is empty.

    >>> synonyms("a cat | a kitten")
    ('a cat', 'a kitten')
    """
    parts = tuple(part.strip() for part in word.split(SYNONYMS))
    if not all(parts):
        raise InputError(f"the word {word!r} is empty, or one of its synonyms is: write them as cat|kitten")
    return parts


def clean_name(text: str) -> str:
    """A tag or class name without space around; every kind of space inside, such as one that does not break, is one.

    >>> clean_name(" polar\u00a0bear ")
    'polar bear'
    """
    return "".join(" " if unicodedata.category(letter) == "Zs" else letter for letter in text).strip()


def is_one_line(name: str) -> bool:
    """Whether a name can be seen on one line: no line breaks, no control characters and no other invisible ones.

    Joiners, with which some scripts join letters and emoji make families, and the letters of flags are seen.

    >>> is_one_line("👩\u200d👧"), is_one_line("a\u200bb")
    (True, False)
    """
    return all(letter.isprintable() or letter in JOINERS or ord(letter) in FLAG_LETTERS for letter in name)


def _check_classes(path: Path, classes: tuple[str, ...], known: list[str]) -> tuple[str, ...]:
    if not classes:
        raise InputError(
            f"the class list for {path} is empty: name at least one class, or leave it out for all."
        )
    for place, name in enumerate(classes):
        if name.casefold() == BACKGROUND:
            raise InputError(
                f"the class list for {path} names {name!r}, which is always label 0: leave it out of the"
                " classes."
            )
        if name in classes[:place]:
            raise InputError(f"the class list for {path} names {name!r} twice: name every class once.")
        if name not in known:
            raise InputError(f"no row of {path} is tagged {name!r}; {suggest(name, known)}.")
    return classes


def _read_rows(path: Path) -> tuple[list[tuple[str, tuple[str, ...], int]], dict[str, tuple[str, ...]]]:
    """(image, tags, line) of every row, checked for form only; and the synonyms of a column `words`."""
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
    rows: list[tuple[str, tuple[str, ...], int]] = []
    lines_of: dict[str, int] = {}
    joined: dict[str, tuple[str, ...]] = {}
    columns: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells) and len(cells) < 2:
                pass  # a blank line
            elif columns is None:
                columns = _check_header(path, cells, line)
            else:
                image, tags = _check_row(path, cells, columns, line)
                if image in lines_of:
                    raise InputError(
                        f"{path}, line {line}: {image} is already on line {lines_of[image]}; join its tags"
                        " in one row."
                    )
                lines_of[image] = line
                if _tags_column(columns) == "words":
                    tags = _join_synonyms(path, line, tags, joined)
                rows.append((image, tags, line))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}, line {line}: not valid CSV ({error}); put cells with commas or quotes in double"
            " quotes and"
            " double the quotes inside."
        ) from error
    if columns is None:
        raise InputError(f"{path} has only blank lines: write the header 'image,tags' and one row a photo.")
    if not rows:
        raise InputError(
            f"{path} has a header and no rows: write one row a photo, for example 'a.jpg,cat;dog'."
        )
    return rows, joined


def _join_synonyms(
    path: Path, line: int, words: tuple[str, ...], joined: dict[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """The first of the synonyms of each word; all go to `joined`."""
    for word in words:
        try:
            group = synonyms(word)
        except InputError as error:
            raise InputError(f"{path}, line {line}: {error}") from None
        if (known := joined.setdefault(group[0], group)) != group:
            raise InputError(
                f"{path}, line {line}: {word!r} and an earlier {SYNONYMS.join(known)!r} are one class with two lists of"
                " synonyms: write the same everywhere."
            )
    return tuple(dict.fromkeys(synonyms(word)[0] for word in words))


def _read_text(path: Path) -> str:
    if not path.exists():
        raise InputError(f"tags file {path} does not exist: check the path.")
    if path.is_dir():
        raise InputError(
            f"tags file {path} is a folder: give the CSV file itself, with the columns image,tags."
        )
    content = path.read_bytes()
    if not content.strip():
        raise InputError(f"{path} is empty: write the header 'image,tags' and one row a photo.")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path} is UTF-16 text: save it as CSV in UTF-8.")
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
            " save it again as"
            " CSV in UTF-8."
        ) from error


def _check_header(path: Path, cells: list[str], line: int) -> list[str]:
    columns = [cell.strip().lower() for cell in cells]
    for needed in ("image", _tags_column(columns)):
        if columns.count(needed) != 1:
            shown = ",".join(cells)
            shown = shown if len(shown) <= 80 else shown[:80] + "…"
            hint = "; separate columns by commas, tags by semicolons" if ";" in shown else ""
            how = "no" if needed not in columns else "more than one"
            raise InputError(
                f"{path}, line {line}: the header {shown!r} has {how} column {needed!r}; it must be"
                f" 'image,tags'{hint}."
            )
    return columns


def _tags_column(columns: list[str]) -> str:
    return "words" if "words" in columns and "tags" not in columns else "tags"


def _check_row(path: Path, cells: list[str], columns: list[str], line: int) -> tuple[str, tuple[str, ...]]:
    if len(cells) != len(columns):
        raise InputError(
            f"{path}, line {line}: {len(cells)} columns where the header has {len(columns)}; join the tags"
            " of a photo by"
            " ';' and quote cells that contain commas."
        )
    image = cells[columns.index("image")].strip().replace("\\", "/")
    while image.startswith("./"):
        image = image[2:]
    if not image:
        raise InputError(f"{path}, line {line}: the image cell is empty; write the photo's file name.")
    tags = tuple(
        dict.fromkeys(
            tag for tag in map(clean_name, cells[columns.index(_tags_column(columns))].split(";")) if tag
        )
    )
    for tag in tags:
        if tag.casefold() == BACKGROUND:
            raise InputError(
                f"{path}, line {line}: the tag {tag!r} is reserved for label 0; leave it out (an empty cell"
                " means none"
                " of the classes)."
            )
        if not is_one_line(tag):
            raise InputError(
                f"{path}, line {line}: the tag {tag!r} contains a line break or an invisible character; rename it."
            )
    return image, tags
