"""Tags in the photos' own names, by a pattern: `--format "names:{tags}_*"` reads cat+dog_017.jpg."""

from __future__ import annotations

import re

from getam.data.formats.listing import Listing, tagged
from getam.data.formats.source import Source
from getam.data.photo_folder import left_out, search_photos
from getam.errors import InputError

TAGS = "{tags}"


def looks(source: Source) -> bool:
    """Never: a pattern has to be given."""
    return False


def read(source: Source) -> Listing:
    """Every photo with what stands for {tags} in its path. Raises `InputError` for one that does not fit."""
    pattern = compiled(source.argument)
    if not source.is_folder:
        raise InputError(f"{source.path} is no folder: give a folder of photos whose names hold their tags.")
    rows = []
    photos, unread = search_photos(source.path)
    for number, file in enumerate(photos, start=1):
        path = file.relative_to(source.path)
        found = pattern.fullmatch(path.with_suffix("").as_posix())
        if found is None:
            raise InputError(
                f"{file} does not fit the pattern {source.argument!r}: * is anything but /, {TAGS} the tags; rename it,"
                " or change the pattern."
            )
        rows.append(tagged(path.as_posix(), re.split(r"[+,;&]", found[1]), str(file), line=number))
    return Listing(f"file names, {source.argument}", tuple(rows), (".",), tuple(left_out(unread)))


def compiled(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern; its group 1 is what stands for {tags}.

    `*` is anything but `/`; the tags, joined by `+`, `,`, `;` or `&`, are as short as fits. Raises `InputError` for a
    pattern without {tags}, or with two.

    >>> compiled("*/{tags}_*").fullmatch("farm/cat+dog_017_b")[1]
    'cat+dog'
    """
    if pattern.count(TAGS) != 1:
        raise InputError(f"--format names:{pattern} must have {TAGS} once, as in names:{TAGS}_*")
    parts = re.split(r"(\*|\{tags\})", pattern)
    regex = {"*": "[^/]*", TAGS: "([^/]*?)"}
    return re.compile("".join(regex.get(part, re.escape(part)) for part in parts))
