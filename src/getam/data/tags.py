"""Tags of photos, whatever they were read from: the table, and what is a name."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from getam.errors import InputError

JOINERS = "\u200c\u200d"
FLAG_LETTERS = range(0xE0020, 0xE0080)
"""They follow the black flag, for England and others."""

SYNONYMS = "|"
"""Between words that mean one class: the first is its name."""

BACKGROUND = "background"
"""The name of label 0: never a tag."""


@dataclass(frozen=True)
class TagRow:
    """One photo of a table of tags: its path as written (with forward slashes), its tags and its line."""

    image: str
    tags: tuple[str, ...]
    """Tags among the classes, in the order of the classes; empty for a photo with none of them."""
    line: int
    others: tuple[str, ...] = ()
    """Tags outside a class subset, sorted; always empty without one."""
    unknown: tuple[str, ...] = ()
    """Classes that nobody looked for: neither tags nor absent; in the order of the classes."""
    where: str = field(default="", compare=False)
    """What errors call its place, such as "tags.csv, line 2"."""


@dataclass(frozen=True)
class TagTable:
    """Everything tags say: the classes (without background) and the rows, in the order of the file."""

    classes: tuple[str, ...]
    rows: tuple[TagRow, ...]
    notes: tuple[str, ...] = ()
    """How the file was understood, a line each; none for plain `image,tags`."""
    folders: tuple[str, ...] = ()
    """Where photos may be besides the folder the tags lie in: relative to it, or to the folder that was read."""
    synonyms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of a column `words`: class → all its words, its name first; empty for a column `tags`."""
    written: tuple[str, ...] = field(default=(), compare=False)
    """Names of classes as the file has them, before any map."""


def suggest(name: str, known: Sequence[str]) -> str:
    """The end of an error about an unknown name: the closest known one, then the known ones.

    >>> suggest("hrose", ["cat", "horse"])
    "did you mean 'horse'? Known: cat, horse"
    """
    close = difflib.get_close_matches(name, known, n=1)
    return (f"did you mean {close[0]!r}? Known: " if close else "known: ") + (listed(known) or "none")


def listed(names: Sequence[str], most: int = 30) -> str:
    """The names for a sentence, of a long list the first and how many more there are.

    >>> listed(["cat", "dog", "cow"], most=2)
    'cat, dog and 1 more'
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


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
