"""`getam data check`: everything that is wrong with photos, tags and masks, before a training finds out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from getam.data.checks import (
    MISSING,
    NO_LIST,
    NO_MASKS,
    NO_TAGS,
    ONE_NAME,
    SPELLINGS,
    TWO_LISTS,
    UNLISTED,
    UNREADABLE,
    Check,
    Problem,
    duplicate_problems,
    mask_problems,
    problem,
    tag_problems,
    together,
)
from getam.data.class_map import ClassMap, read_class_map
from getam.data.collection import Collection, Sample, match_files, read_split
from getam.data.formats.registry import find_tags, read_tags
from getam.data.mask_folder import mask_class_names
from getam.data.masks import CLASSES_FILE, VOID
from getam.data.overlap import read_ahead
from getam.data.photo_files import is_voc_layout, photo_finder, sample_name
from getam.data.photo_folder import left_out, search_photos
from getam.data.seen_photos import Seen, remarks, see
from getam.data.tags import TagRow, TagTable, suggest
from getam.errors import InputError
from getam.outputs.progress import progress
from getam.verbs.data_fix import refuse_fix, show_mended, write_fixed
from getam.verbs.from_python import from_python

SPLITS = ("train", "val", "test")
"""Split files that are looked for where none are named."""


@from_python
def data_check(
    photos: Path,
    /,
    *,
    tags: tuple[Path, ...] | None = None,
    format: str | None = None,
    classes: tuple[str, ...] | None = None,
    map: Path | None = None,
    splits: tuple[str, ...] | None = None,
    masks: Path | None = None,
    fix: Path | None = None,
) -> Check:
    """Read photos, tags and masks once and list every problem, with its file and what to do.

    Photos that are not there, that nothing can read, or that show the same as others, in one split or across splits;
    tags that look like slips of the pen; masks that are colours, of another size, with labels beyond their classes,
    mostly undecided, or at odds with the tags. The exit code is 1 where there is any.

    Args:
        photos: folder of photos, or a VOC folder.
        tags: what says which photo shows what, in any format; several, such as train.csv val.csv, are splits of these
            names. Looked for as `getam train` does when left out.
        format: how the tags are written, if it is not recognised; `getam train --help` lists the names.
        classes: look at these tags only.
        map: CSV of from,to lines, or YAML, with new names for tags and for classes of masks, as for `getam train`.
        splits: names of split files, as for `getam train --split`; train, val and test where they are there when left
            out.
        masks: folder of true masks; SegmentationClass of a VOC folder when left out.
        fix: new folder for a copy in which is mended what can be mended safely (masks in VOC's colours, tags in two
            spellings, rows without their suffix, photos turned by EXIF); what cannot be used at all is left out and
            listed in its left-out.csv. Nothing else is changed.

    Returns:
        The problems, and the collection that could be read.

    Raises:
        InputError: the folder does not exist, or no tags could be read at all.
    """
    if fix is not None:
        refuse_fix(fix, photos, classes or map)
    if not photos.is_dir():
        raise InputError(f"data folder {photos} does not exist or is no folder: check the path.")
    class_map = None if map is None else read_class_map(map)
    found: list[Problem] = []
    files = tags or (find_tags(photos, format=format),)
    tables: dict[Path, TagTable] = {}
    for file in files:
        try:
            tables[file] = read_tags(file, classes, format=format, class_map=class_map)
        except InputError as error:
            if len(files) == 1:
                raise
            found.append(problem(error, file, NO_TAGS))
    if not tables:
        raise InputError(
            f"none of the {len(files)} files of tags can be read: {found[0].where}: {found[0].what}"
        )
    collection, homes, taken = _gather(photos, tables, found)
    for file, table in tables.items():
        counts = Counter(tag for row in table.rows for tag in (*row.tags, *row.others))
        found += tag_problems(counts, file)
        found += [
            Problem(
                str(file),
                note.partition(": ")[2].partition(";")[0],
                "write it the same way everywhere",
                SPELLINGS,
            )
            for note in table.notes
            if " is read as " in note
        ]
    homes = homes if len(tables) > 1 else _splits(photos, splits, collection, found)
    collection = _with_masks(collection, photos, masks, found, class_map)
    seen: list[Seen] = []
    with progress("checking", len(collection.samples)) as advance:
        coming = read_ahead(
            collection.samples,
            see,
            skip=lambda sample, error: found.append(problem(error, sample.photo, UNREADABLE)),
        )
        for done, (sample, photo) in enumerate(coming, start=1):
            seen.append(photo)
            found += mask_problems(sample, collection, photo.size)
            advance(done, sample.name)
    found += duplicate_problems([(each.sample, each.glance) for each in seen], homes)
    check = Check(tuple(found), collection, homes, _remarks(photos, tables, collection, seen))
    _show(check)
    if fix is not None:
        show_mended(write_fixed(fix, photos, tables, taken, check), fix)
    return check


def _gather(
    data: Path, tables: Mapping[Path, TagTable], found: list[Problem]
) -> tuple[Collection, dict[str, tuple[str, ...]], dict[str, TagRow]]:
    """The photos that are there, of all tables, their names by table, and the row each is from."""
    names: tuple[str, ...] = ()
    for table in tables.values():
        names += tuple(name for name in table.classes if name not in names)
    samples: dict[str, Sample] = {}
    homes: dict[str, tuple[str, ...]] = {}
    taken: dict[str, TagRow] = {}
    is_voc = is_voc_layout(data)
    for file, table in tables.items():
        find = photo_finder(data, file, table.folders)
        own: dict[str, Sample] = {}
        for row in table.rows:
            name = sample_name(row.image, is_voc)
            if earlier := own.get(name) or samples.get(name):
                what = f"photo {row.image} is called {name!r} as {earlier.photo.name} is"
                remedy = (
                    "rename one of the photos" if name in own else "list it in one split only, or rename it"
                )
                found.append(Problem(row.where, what, remedy, ONE_NAME))
                continue
            try:
                own[name] = Sample(name, find(row), row.tags, row.others, unknown=row.unknown)
            except InputError as error:
                found.append(problem(error, file, MISSING))
            else:
                taken[name] = row
        samples.update(own)
        homes[file.stem] = tuple(own)
    return Collection(names, tuple(samples.values())), homes, taken


def _splits(
    data: Path, names: Sequence[str] | None, collection: Collection, found: list[Problem]
) -> dict[str, tuple[str, ...]]:
    folder = data / "ImageSets" / "Segmentation" if is_voc_layout(data) else data
    known = {sample.name for sample in collection.samples}
    wanted = names or [name for name in SPLITS if (folder / f"{name}.txt").is_file()]
    homes: dict[str, tuple[str, ...]] = {}
    home: dict[str, str] = {}
    for split in wanted:
        file = folder / f"{split}.txt"
        try:
            listed = read_split(file)
        except InputError as error:
            found.append(problem(error, file, NO_LIST))
            continue
        for name in listed:
            if name in home:
                remedy = "take it off one of the lists"
                found.append(
                    Problem(str(file), f"{name} is in the split {home[name]} too", remedy, TWO_LISTS)
                )
            elif name not in known:
                remedy = "correct the name, add its row of tags, or take it off the list"
                found.append(
                    Problem(
                        str(file), f"{name} has no row of tags, or its photo is missing", remedy, UNLISTED
                    )
                )
            home.setdefault(name, split)
        homes[split] = tuple(name for name in listed if home[name] == split and name in known)
    return homes


def _with_masks(
    collection: Collection,
    data: Path,
    masks: Path | None,
    found: list[Problem],
    class_map: ClassMap | None,
) -> Collection:
    is_voc = is_voc_layout(data)
    if masks is None and is_voc and (data / "SegmentationClass").is_dir():
        masks = data / "SegmentationClass"
    if masks is None or not collection.samples:
        return collection
    try:
        files = match_files(masks, {s.name: s.photo for s in collection.samples}, "mask", required=False)
        first, names = mask_class_names(masks, (), is_voc, class_map)
    except InputError as error:
        found.append(problem(error, masks, NO_MASKS))
        return collection
    for name in collection.classes:
        if name not in names:
            remedy = f"{suggest(name, names)}; or add it to {CLASSES_FILE}"
            found.append(Problem(str(masks), f"the masks have no class {name!r}", remedy, NO_MASKS))
    samples = tuple(
        Sample(s.name, s.photo, s.tags, s.others, files.get(s.name), s.saliency, s.unknown)
        for s in collection.samples
    )
    return Collection(collection.classes, samples, names, void=first == VOID)


def _remarks(
    data: Path, tables: Mapping[Path, TagTable], collection: Collection, seen: Sequence[Seen]
) -> tuple[str, ...]:
    said = [note for table in tables.values() for note in table.notes if " is read as " not in note]
    listed = {sample.photo.resolve() for sample in collection.samples}
    masks = {sample.mask.resolve() for sample in collection.samples if sample.mask is not None}
    folder = data / "JPEGImages" if is_voc_layout(data) else data
    photos, unread = search_photos(folder)
    spare = [photo for photo in photos if photo.resolve() not in listed | masks]
    said.append(f"{len(seen)} of {len(collection.samples)} photos can be read")
    if masks:
        said.append(f"{len(masks)} of them have a mask")
    said += remarks(seen)
    if spare:
        said.append(f"{len(spare)} image files have no row of tags, the first is {spare[0]}")
    lines = left_out([photo for photo in unread if photo.resolve() not in listed])
    said += [line for line in lines if not any(line in note for note in said)]
    return tuple(said)


def _show(check: Check) -> None:
    """Two tables on stdout: the classes, the problems."""
    console = Console(soft_wrap=True)
    splits, samples = check.splits, check.collection.samples
    table = Table(title="classes")
    for column in ("class", "photos", *splits, "not looked for", "most often together with"):
        table.add_column(
            column, justify="left" if column in ("class", "most often together with") else "right"
        )
    pairs = together(check.collection)
    for name in check.collection.classes:
        having = {sample.name for sample in samples if name in sample.tags}
        unknown = sum(name in sample.unknown for sample in samples)
        beside = Counter({b if a == name else a: count for (a, b), count in pairs.items() if name in (a, b)})
        often = ", ".join(f"{other} {count}" for other, count in beside.most_common(3))
        shares = [str(len(having.intersection(names))) for names in splits.values()]
        table.add_row(Text(name), str(len(having)), *shares, str(unknown or ""), Text(often))
    console.print(table)
    for remark in check.remarks:
        console.print(Text(remark))
    if not check.problems:
        console.print("no problem was found")
        return
    table = Table(title=f"{len(check.problems)} problem{'' if len(check.problems) == 1 else 's'}")
    for column in ("where", "what", "what to do"):
        table.add_column(column)
    for each in check.problems:
        table.add_row(Text(each.where), Text(each.what), Text(each.remedy))
    console.print(table)
