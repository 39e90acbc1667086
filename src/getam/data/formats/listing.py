"""What every reader of tags gives: photos with their tags, each with the place it was read from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from getam.data.tags import BACKGROUND, clean_name, is_one_line
from getam.errors import InputError


@dataclass(frozen=True)
class Tagged:
    """One photo as a file of tags has it.

    Attributes:
        image: its path as written, with forward slashes.
        tags: its classes, in the order of the file, each once.
        unknown: classes that nobody looked for in it: neither there nor absent.
        where: what errors call its place, such as "tags.csv, line 2".
        line: the line or number of the entry; 0 where it has none.
    """

    image: str
    tags: tuple[str, ...]
    where: str
    unknown: tuple[str, ...] = ()
    line: int = 0


@dataclass(frozen=True)
class Listing:
    """All photos that a file or folder of tags names.

    Attributes:
        words: what the format is called, such as "CSV, one-hot".
        rows: the photos, in order.
        folders: where their files may be besides the folder the tags lie in: relative to it, or to the folder that was
            read.
        remarks: what was passed over or understood in a way worth saying, in words.
        synonyms: class → all its words, its name first, where the file has words.
        plain: whether there is nothing to say: getam's own two columns.
    """

    words: str
    rows: tuple[Tagged, ...]
    folders: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    plain: bool = False
    synonyms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def tagged(
    image: str, tags: Iterable[object], where: str, *, unknown: Iterable[object] = (), line: int = 0
) -> Tagged:
    r"""A photo with its names cleaned: forward slashes, no space around, every tag once; a tag is never unknown.

    Raises `InputError`, beginning with `where`, for an empty name of the photo and for tags that are no names.

    >>> tagged(".\\a.jpg", [" cat", "cat", ""], "tags.csv, line 2").tags
    ('cat',)
    """
    image = image.strip().replace("\\", "/")
    while image.startswith("./"):
        image = image[2:]
    if not image:
        raise InputError(f"{where}: the image cell is empty; write the photo's file name.")
    names = tuple(dict.fromkeys(name for name in (_name(tag, where) for tag in tags) if name))
    doubtful = dict.fromkeys(name for name in (_name(tag, where) for tag in unknown) if name)
    return Tagged(image, names, where, tuple(name for name in doubtful if name not in names), line)


def _name(tag: object, where: str) -> str:
    if isinstance(tag, bool) or not isinstance(tag, (str, int)):
        raise InputError(f"{where}: {tag!r} is no tag; write the name of a class.")
    name = clean_name(str(tag))
    if name.casefold() == BACKGROUND:
        raise InputError(
            f"{where}: the tag {name!r} is reserved for label 0; leave it out (an empty cell means none of the"
            " classes)."
        )
    if not is_one_line(name):
        raise InputError(
            f"{where}: the tag {name!r} contains a line break or an invisible character; rename it."
        )
    return name
