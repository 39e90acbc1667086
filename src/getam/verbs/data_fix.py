"""What `getam data check --fix` writes: a copy in which is mended what can be mended safely, and a list of the rest."""

from __future__ import annotations

import csv
import io
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.table import Table
from rich.text import Text

from getam.data import checks
from getam.data.checks import Check, mask_problems, spellings
from getam.data.collection import Sample, read_split
from getam.data.mask_colours import labels_of_colours
from getam.data.masks import CLASSES_FILE, VOID, read_mask, write_mask
from getam.data.new_folder import new_folder
from getam.data.photo_files import is_voc_layout
from getam.data.photo_folder import find_photos
from getam.data.photos import read_photo_near, suffix_of, turned_file
from getam.data.tag_table import tag_table
from getam.data.tags import BACKGROUND, TagRow, TagTable
from getam.errors import InputError
from getam.outputs.progress import progress
from getam.whole_files import replacing, write_atomically

LEFT_OUT = "left-out.csv"
TURNED = "photo that EXIF turns"
RESPELT = "row without the suffix of its photo, or in another case"
NO_SUFFIX = "photo file without a suffix"

HOW = {
    checks.UNREADABLE: "left out with its tags", checks.MISSING: "row left out",
    checks.ONE_NAME: "the later row left out",
    checks.NO_TAGS: "file left out", checks.NO_LIST: "list left out", checks.UNLISTED: "taken off the list",
    checks.SPELLINGS: "in the frequent spelling", checks.BAD_MASK: "VOC's colours to labels",
    checks.AT_ODDS: "by the spelling of its tag", checks.NO_MASKS: "by the spelling of the tag",
    TURNED: "written upright", RESPELT: "written as the file's name is", NO_SUFFIX: "suffix added",
}  # fmt: skip
"""What becomes of what is mended; kinds that are not here are never mended."""
WHOLLY = (
    checks.UNREADABLE, checks.MISSING, checks.ONE_NAME, checks.NO_TAGS, checks.NO_LIST, checks.UNLISTED,
)  # fmt: skip
WHY_NOT = {
    checks.BAD_MASK: "no RGB image in VOC's colours of the photo's size: write it again from where it is from",
    checks.SPELLINGS: "several tags are as frequent, or masks have other classes: say which is meant",
}


@dataclass
class Mending:
    """What becomes of every kind of problem.

    Attributes:
        mended: kind → how often it was.
        left: kind → how often it was not, and stands in the new folder as it was.
        out: (what, name, tags, why) of all that is not in the new folder.
        spelt: tag → how it is spelt in the new folder, where that differs.
    """

    mended: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    out: list[tuple[str, str, str, str]] = field(default_factory=list)
    spelt: dict[str, str] = field(default_factory=dict)


def refuse_fix(out: Path, photos: Path, chosen: object) -> None:
    """Raises `InputError` where `out` is not new, lies in the photos, or tags were `chosen` or mapped."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not empty: --fix writes a new folder; give another.")
    if out.resolve().is_relative_to(photos.resolve()):
        raise InputError(
            f"{out} lies in {photos}, whose photos it would add to: give a folder outside with --fix."
        )
    if chosen:
        raise InputError("--fix mends all tags, under the names they have: leave --classes and --map out.")


def write_fixed(
    out: Path, data: Path, tables: Mapping[Path, TagTable], taken: Mapping[str, TagRow], check: Check
) -> Mending:
    """Write the mended copy; it appears whole or not at all.

    In the layout of `data`: VOC's, or `photos` with tags.csv and lists, and `masks`.

    Args:
        out: the folder.
        data: folder of photos that was checked.
        tables: the tags, by file.
        taken: name of a photo → the row it is from.
        check: what was found.

    Raises:
        InputError: no photo is left.
    """
    mending, is_voc = Mending(), is_voc_layout(data)
    broken = {each.where for each in check.problems if each.kind == checks.UNREADABLE}
    samples = {s.name: s for s in check.collection.samples if str(s.photo) not in broken}
    if not samples:
        raise InputError(
            f"{data} has no photo that can be read and has a row of tags: nothing would be left."
        )
    with new_folder(out) as work:
        photos, masks = (
            (work / "JPEGImages", work / "SegmentationClass") if is_voc else (work / "photos", work / "masks")
        )
        lists = work / "ImageSets" / "Segmentation" if is_voc else photos
        files: dict[str, str] = {}
        with progress("mending", len(samples)) as advance:
            for done, (name, sample) in enumerate(samples.items(), start=1):
                files[name] = _photo(sample, photos, taken[name], mending)
                _mask(sample, masks, len(check.collection.mask_classes), mending)
                advance(done, name)
        if check.collection.mask_classes:
            first = VOID if check.collection.void else BACKGROUND
            names = "".join(f"{name}\n" for name in (first, *check.collection.mask_classes))
            write_atomically(masks / CLASSES_FILE, names.encode())
        _tags(tables, taken, files, check, work if is_voc else photos, mending)
        if len(tables) == 1:
            _lists(check, data, files, lists, is_voc, mending)
        _count(check, mending)
        _spare(data, check, is_voc, mending)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("what", "name", "tags", "why"), *mending.out])
        write_atomically(work / LEFT_OUT, text.getvalue().encode(errors="surrogateescape"))
    return mending


def show_mended(mending: Mending, out: Path) -> None:
    """A table on stdout: each kind of problem, how often it was mended and how often not, and how or why not."""
    table = Table(title="mended")
    for column, side in (
        ("problem", "left"),
        ("mended", "right"),
        ("not mended", "right"),
        ("how, or why not", "left"),
    ):
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    for kind in dict.fromkeys([*mending.mended, *mending.left]):
        done, left = mending.mended[kind], mending.left[kind]
        said = [HOW[kind]] if done else []
        said += [WHY_NOT.get(kind, "only you can tell what is meant")] if left else []
        table.add_row(Text(kind), str(done), str(left), Text("; ".join(said)))
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(Text(f"{out} is the mended copy; {len(mending.out)} entries are in {out / LEFT_OUT}"))


def _photo(sample: Sample, folder: Path, row: TagRow, mending: Mending) -> str:
    """Write one photo; returns its path in the folder."""
    turned = turned_file(sample.photo)
    suffix = turned[1] if turned and not sample.photo.suffix else suffix_of(sample.photo)
    mending.mended[NO_SUFFIX] += suffix != sample.photo.suffix
    mending.mended[RESPELT] += PurePosixPath(row.image).name != sample.photo.name
    mending.mended[TURNED] += turned is not None
    name = f"{sample.name}{suffix}"
    if turned:
        write_atomically(folder / name, turned[0])
    else:
        _copy(sample.photo, folder / name)
    return name


def _mask(sample: Sample, folder: Path, classes: int, mending: Mending) -> None:
    """Write one mask, if there is one: mended, or as it is."""
    if sample.mask is None:
        return
    size = read_photo_near(sample.photo, 1)[1]
    try:
        read_mask(sample.mask, size)
    except InputError:
        try:
            label = labels_of_colours(sample.mask, classes)
        except InputError:
            label = None
        if label is not None and label.shape == size:
            mending.mended[checks.BAD_MASK] += 1
            write_mask(folder / f"{sample.name}.png", label)
            return
        mending.left[checks.BAD_MASK] += 1
    _copy(sample.mask, folder / f"{sample.name}{sample.mask.suffix}")


def _copy(file: Path, target: Path) -> None:
    with file.open("rb") as content, replacing(target) as written:
        shutil.copyfileobj(content, written)


def _tags(
    tables: Mapping[Path, TagTable], taken: Mapping[str, TagRow], files: Mapping[str, str], check: Check,
    folder: Path, mending: Mending,
) -> None:  # fmt: skip
    """One file of tags for each table, and all rows that are not in it in the list of what is left out."""
    why = {each.where: each.what for each in check.problems}
    names = {id(row): name for name, row in taken.items()}
    photo = {sample.name: str(sample.photo) for sample in check.collection.samples}
    for file, table in tables.items():
        counts = Counter(tag for row in table.rows for tag in row.tags)
        known = check.collection.mask_classes
        to = {a: b for a, b in spellings(counts).items() if not known or (b in known and a not in known)}
        mending.mended[checks.SPELLINGS] += len(to)
        mending.spelt |= to
        classes = tuple(name for name in check.collection.classes if name not in to)
        rows = []
        for row in table.rows:
            name = names.get(id(row), "")
            if name in files:
                tags = {to.get(tag, tag) for tag in row.tags}
                unknown = {to.get(tag, tag) for tag in row.unknown} - tags
                ordered = [tuple(each for each in classes if each in its) for its in (tags, unknown)]
                rows.append(TagRow(files[name], ordered[0], 0, unknown=ordered[1]))
            else:
                reason = why.get(row.where) or why.get(photo.get(name, ""), "")
                mending.out.append(("row", row.image, ";".join(row.tags), f"{row.where}: {reason}"))
        own = "tags.csv" if len(tables) == 1 else f"{file.stem}.csv"
        if rows:
            write_atomically(folder / own, tag_table(rows, classes).encode(errors="surrogateescape"))


def _lists(
    check: Check, data: Path, files: Mapping[str, str], folder: Path, is_voc: bool, mending: Mending
) -> None:
    """The lists of splits, without names that are not there any more."""
    source = data / "ImageSets" / "Segmentation" if is_voc else data
    folder.mkdir(parents=True, exist_ok=True)
    for split in check.splits:
        listed = read_split(source / f"{split}.txt")
        write_atomically(
            folder / f"{split}.txt", "".join(f"{name}\n" for name in listed if name in files).encode()
        )
        mending.out += [
            ("name in a list", name, "", f"{split}.txt lists it, and it is not there")
            for name in listed
            if name not in files
        ]


def _count(check: Check, mending: Mending) -> None:
    """Every problem that was not counted where it was met; files that nobody can read go onto the list."""
    kinds = Counter(each.kind for each in check.problems)
    for kind, count in kinds.items():
        if kind == checks.SPELLINGS:
            cased = sum(each.kind == kind and " is read as " in each.what for each in check.problems)
            mending.left[kind] = count - cased - mending.mended[kind]
            mending.mended[kind] += cased
        elif kind in WHOLLY:
            mending.mended[kind] = count
        elif kind in (checks.AT_ODDS, checks.NO_MASKS):
            mending.mended[kind] = _by_spelling(check, kind, mending.spelt)
            mending.left[kind] = count - mending.mended[kind]
        elif kind != checks.BAD_MASK:
            mending.left[kind] = count
    mending.out += [
        ("file", each.where, "", each.what)
        for each in check.problems
        if each.kind in (checks.NO_TAGS, checks.NO_LIST)
    ]
    for counts in (mending.mended, mending.left):
        for kind in [kind for kind, count in counts.items() if not count]:
            del counts[kind]


def _by_spelling(check: Check, kind: str, spelt: Mapping[str, str]) -> int:
    """How many problems between tags and masks are gone with the tags' spelling."""
    if kind == checks.NO_MASKS:
        return sum(
            each.kind == kind and each.what.endswith(f"no class {name!r}")
            for each in check.problems
            for name in spelt
        )
    gone = 0
    collection = replace(
        check.collection, classes=tuple(name for name in check.collection.classes if name not in spelt)
    )
    for sample in check.collection.samples:
        before = sum(each.kind == kind and each.where == str(sample.mask) for each in check.problems)
        if before and spelt.keys() & {*sample.tags}:
            tags = {spelt.get(tag, tag) for tag in sample.tags}
            now = replace(sample, tags=tuple(name for name in collection.classes if name in tags))
            gone += before - len(mask_problems(now, collection, read_photo_near(sample.photo, 1)[1]))
    return gone


def _spare(data: Path, check: Check, is_voc: bool, mending: Mending) -> None:
    used = {s.photo.resolve() for s in check.collection.samples}
    used |= {s.mask.resolve() for s in check.collection.samples if s.mask is not None}
    mending.out += [
        ("image file", str(file), "", "has no row of tags")
        for file in find_photos(data / "JPEGImages" if is_voc else data)
        if file.resolve() not in used
    ]
