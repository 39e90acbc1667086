"""From a listing to a table: which classes there are, and one spelling for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from getam.data.class_map import ClassMap
from getam.data.formats.listing import Listing
from getam.data.tags import BACKGROUND, TagRow, TagTable, suggest
from getam.errors import InputError
from getam.label_numbers import MAX_CLASSES


def tabulate(
    path: Path,
    listing: Listing,
    classes: Sequence[str] | None = None,
    known: Sequence[str] = (),
    class_map: ClassMap | None = None,
) -> TagTable:
    """The table of a listing.

    Names that differ in case only are one class: spelled as in `classes`, else as in `known`, else as most photos
    have it; `TagTable.notes` says so. Names that `classes` both has stay apart.

    Args:
        path: of the file or folder, for errors and notes.
        listing: what was read from it.
        classes: a subset, in that order; other tags go to `TagRow.others`. All tags that a photo has, sorted, if None.
        known: names of a model's classes.
        class_map: renames what was read; `classes` are names after it.

    Raises:
        InputError: no photo, a photo twice, no tag at all, a class that no photo has, or more classes than masks hold.
    """
    if not listing.rows:
        raise InputError(
            f"{path} ({listing.words}) names no photo: give one that lists photos and their tags."
        )
    _check_twice(path, listing)
    written = dict.fromkeys(name for row in listing.rows for name in (*row.tags, *row.unknown))
    listing = listing if class_map is None else class_map.listing(listing)
    count = Counter(tag for row in listing.rows for tag in row.tags)
    for row in listing.rows:
        count.update(dict.fromkeys(row.unknown, 0))
    spelled = one_spelling(count, (*(classes or ()), *known))
    notes = [] if listing.plain else [listing]
    there = sorted({spelled[tag] for tag, photos in count.items() if photos})
    if classes is None:
        if not there:
            raise InputError(
                f"{path} has {len(listing.rows)} rows and no tag in any of them: fill in the tags column."
            )
        chosen = tuple(there)
    else:
        chosen = _check_classes(path, tuple(classes), there)
    if len(chosen) > MAX_CLASSES:
        raise InputError(
            f"{path} has {len(chosen)} classes, but masks have room for {MAX_CLASSES}: select fewer with `classes`."
        )
    order = {name: place for place, name in enumerate(chosen)}
    rows = []
    for row in listing.rows:
        tags = {spelled[tag] for tag in row.tags}
        unknown = {spelled[tag] for tag in row.unknown} - tags
        rows.append(
            TagRow(
                image=row.image,
                tags=tuple(name for name in chosen if name in tags),
                line=row.line,
                others=tuple(sorted(tags.difference(order))),
                unknown=tuple(sorted(unknown.intersection(order), key=order.__getitem__)),
                where=row.where,
            )
        )
    said = [_summary(path, each, rows, len(chosen)) for each in notes]
    said += [
        f"{path.name}: {name} is read as {spelled[name]}; name both in --classes to keep them apart"
        for name in sorted(count)
        if spelled[name] != name
    ]
    joined = {name: listing.synonyms[name] for name in chosen if name in listing.synonyms}
    return TagTable(chosen, tuple(rows), tuple(said), listing.folders, joined, tuple(written))


def one_spelling(count: Mapping[str, int], wanted: Iterable[str] = ()) -> dict[str, str]:
    """Name → name of its class, one for all that differ in case only.

    It is the first of `wanted` that fits, else the most counted, of several the last in the order of code points (small
    letters). Names that are wanted keep their own.

    >>> one_spelling({"Cow": 1, "cow": 9, "dog": 1})
    {'Cow': 'cow', 'cow': 'cow', 'dog': 'dog'}
    >>> one_spelling({"Cow": 1, "cow": 9}, ["COW", "Cow"])
    {'Cow': 'Cow', 'cow': 'COW'}
    """
    wanted = tuple(wanted)
    best: dict[str, str] = {}
    for name in sorted(count, key=lambda name: (count[name], name)):
        best[name.casefold()] = name
    for name in reversed(wanted):
        best[name.casefold()] = name
    return {name: name if name in wanted else best[name.casefold()] for name in count}


def _summary(path: Path, listing: Listing, rows: Sequence[TagRow], classes: int) -> str:
    photos, unknown = len(rows), sum(bool(row.unknown) for row in rows)
    parts = [
        listing.words,
        f"{photos} photo{'' if photos == 1 else 's'}",
        f"{classes} class{'' if classes == 1 else 'es'}",
        *([f"not all of them looked for in {unknown}"] if unknown else []),
    ]
    return f"{path.name}: {', '.join(parts)}" + "".join(f"; {remark}" for remark in listing.remarks)


def _check_twice(path: Path, listing: Listing) -> None:
    seen: dict[str, str] = {}
    for row in listing.rows:
        if row.image in seen:
            earlier = seen[row.image].removeprefix(f"{path}, ")
            raise InputError(f"{row.where}: {row.image} is already in {earlier}; list every photo once.")
        seen[row.image] = row.where


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
