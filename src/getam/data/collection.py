"""One data set: photos, their tags and, where there are any, masks and saliency maps, in two layouts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from getam.data.class_map import ClassMap
from getam.data.formats.registry import find_tags, read_tags
from getam.data.mask_folder import mask_class_names, remapped
from getam.data.masks import VOID, LabelMap, read_mask
from getam.data.photo_files import is_voc_layout, photo_finder, sample_name
from getam.data.photo_folder import find_photos
from getam.data.tags import TagRow, suggest
from getam.data.tars import names_tars, root_of
from getam.errors import InputError


@dataclass(frozen=True)
class Sample:
    """One photo and what is known about it."""

    name: str
    """VOC id, or path in the folder without the suffix: unique, and what a mask written for it is called."""
    photo: Path
    tags: tuple[str, ...]
    others: tuple[str, ...] = ()
    """Tags outside the class subset; their pixels are ignored in the mask."""
    mask: Path | None = None
    saliency: Path | None = None
    unknown: tuple[str, ...] = ()
    """Classes that nobody looked for in the photo: they may be there or not, and nothing is learned of them."""
    belief: Path | None = None
    """How much of each pixel is an object, beside a mask made from it: a grey map in the shape of the photo."""


@dataclass(frozen=True)
class Collection:
    """A data set in memory: paths and tags only, no pixels."""

    classes: tuple[str, ...]
    """Without background: class i is label i + 1."""
    samples: tuple[Sample, ...]
    mask_classes: tuple[str, ...] = ()
    """Class list of the mask files, without background; empty without masks. After a map two may have one name, and
    some a name that is no class: `background`, or "" where they were dropped."""
    split: str | None = None
    background: tuple[str, ...] = ()
    """Classes of the mask files whose pixels count as background."""
    void: bool = False
    """Label 0 of the mask files is no background but nobody's: it is ignored."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """How the tags were understood, a line each; none where there is nothing to say."""

    @property
    def has_saliency(self) -> bool:
        """Whether every sample has a saliency map."""
        return all(sample.saliency is not None for sample in self.samples)

    @property
    def has_masks(self) -> bool:
        """Whether every sample has a mask."""
        return all(sample.mask is not None for sample in self.samples)

    def split_hash(self) -> str:
        """sha256 over the sorted names: two runs with the same hash saw the same photos."""
        return names_hash(sample.name for sample in self.samples)


def names_hash(names: Iterable[str]) -> str:
    """sha256, in hexadecimal, of the sorted names, each followed by a line feed.

    >>> names_hash(["b", "a"]) == hashlib.sha256(b"a" + bytes([10]) + b"b" + bytes([10])).hexdigest()
    True
    """
    return hashlib.sha256(
        "".join(f"{name}\n" for name in sorted(names)).encode(errors="surrogateescape")
    ).hexdigest()


def load_collection(
    data: Path | str,
    tags: Path | str | None = None,
    *,
    classes: Sequence[str] | None = None,
    split: str | None = None,
    saliency: Path | str | None = None,
    masks: Path | str | None = None,
    background: Sequence[str] = (),
    inside: bool = False,
    format: str | None = None,
    known: Sequence[str] = (),
    class_map: ClassMap | None = None,
) -> Collection:
    """Find and check everything a run will read, before it starts.

    Two layouts are known. A folder of photos: the `image` column of tags.csv is relative to it or else to
    tags.csv. VOC: `JPEGImages/`, `ImageSets/Segmentation/{split}.txt`, and `SegmentationClass/`, the default
    of `masks`; the `image` column is an id, a file of `JPEGImages/` or a path in `data`. In both, a name in another
    case or without its suffix will do where only one photo fits. Photos may lie inside tars (`getam.data.tars`), which
    are folders then: `photos-000000.tar/key.jpg`.

    Args:
        data: The folder, or tars: one, or a pattern such as `photos-{000000..000009}.tar`.
        tags: The tags, a file or folder in any of `getam.data.formats`; when left out `tags.csv` in `data`, or what an
            export is called that lies there, or a folder of photos per class. Masks are never used as tags.
        classes: A subset of the tags, in this order; other tags go to `Sample.others`.
        split: Take only the ids listed in `{split}.txt`, in `ImageSets/Segmentation/` (VOC) or in `data`.
        saliency: A folder with one saliency map a photo, of the same name, any image suffix.
        masks: A folder with label PNGs named after the photos; photos without one are allowed. `classes.txt`
            lies in it or in the folder above; a VOC folder without one has VOC's own class list. Where its first line
            is `void` instead of `background`, label 0 is ignored.
        background: Classes of the masks that count as background, such as grass and sky; without it they are ignored
            as all classes outside `classes` are.
        inside: Refuse photos that do not lie in `data`, links followed. For whoever serves others: a tags.csv can name
            any file of the machine.
        format: The name of the format of the tags; recognised when left out.
        known: Names of a model's classes: tags that differ from one of them in case only are read as that.
        class_map: new names for tags and for classes of masks; `classes` and `background` are names after it.

    Raises `InputError` for anything missing, naming the line of tags.csv where there is one.
    """
    data = Path(data)
    if not data.is_dir() and not names_tars(data):
        raise InputError(f"data folder {data} does not exist or is no folder: check the path.")
    tags = Path(tags) if tags is not None else find_tags(data, format=format)
    table = read_tags(tags, classes, format=format, known=known, class_map=class_map)
    data = root_of(data) if names_tars(data) else data
    is_voc = is_voc_layout(data)
    rows = name_rows(tags, table.rows, is_voc)
    if split is not None:
        lists = data / "ImageSets" / "Segmentation" if is_voc else data
        rows = _select(rows, lists / f"{split}.txt", tags)
    find = photo_finder(data, tags, table.folders, inside=inside)
    photos = {name: find(row) for name, row in rows.items()}

    mask_files: dict[str, Path] = {}
    mask_classes: tuple[str, ...] = ()
    void = False
    if masks is None and is_voc and (data / "SegmentationClass").is_dir():
        masks = data / "SegmentationClass"
    if masks is not None:
        mask_files = match_files(Path(masks), photos, "mask", required=False)
        first, mask_classes = mask_class_names(Path(masks), table.classes, is_voc, class_map)
        void = first == VOID
        _check_background(background, table.classes, mask_classes, Path(masks))
    elif background:
        raise InputError(
            f"classes that count as background ({', '.join(background)}) are classes of masks, and {data} has none:"
            " give the folder of masks."
        )
    if class_map is not None:
        of_masks = () if masks is None else mask_class_names(Path(masks), (), is_voc)[1]
        class_map.require_found((*table.written, *of_masks))
    saliency_files = (
        match_files(Path(saliency), photos, "saliency map", required=True) if saliency is not None else {}
    )

    samples = tuple(
        Sample(
            name, photos[name], row.tags, row.others, mask_files.get(name), saliency_files.get(name), row.unknown
        )
        for name, row in rows.items()
    )  # fmt: skip
    return Collection(table.classes, samples, mask_classes, split, tuple(background), void, table.notes)


def load_sample_mask(sample: Sample, collection: Collection, size: tuple[int, int]) -> LabelMap:
    """The truth of a sample in the collection's numbers: (H, W), classes outside the collection undecided.

    `size` is the (height, width) of the photo. Raises `InputError` when there is no mask or it does not fit.
    """
    if sample.mask is None:
        raise InputError(f"photo {sample.photo} has no mask: add {sample.name}.png to the folder of masks.")
    return remapped(
        sample.mask, read_mask(sample.mask, size), collection.mask_classes, collection.classes, collection.void,
        collection.background,
    )  # fmt: skip


def read_split(path: Path | str) -> tuple[str, ...]:
    """The ids of a split file, one a line; `InputError` when it is missing, empty or names an id twice."""
    path = Path(path)
    if not path.is_file():
        there = sorted(found.stem for found in path.parent.glob("*.txt")) if path.parent.is_dir() else []
        raise InputError(f"split file {path} does not exist; {suggest(path.stem, there)}.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"split file {path} is not UTF-8 text: write one photo id a line.") from error
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if name in seen:
            raise InputError(
                f"{path}, line {number}: {name} is already on line {seen[name]}; list every id once."
            )
        if name:
            seen[name] = number
    if not seen:
        raise InputError(f"split file {path} is empty: list one photo id a line.")
    return tuple(seen)


def name_rows(tags: Path | str, rows: Sequence[TagRow], is_voc: bool) -> dict[str, TagRow]:
    """Sample's name → its row; raises `InputError` where two have one name."""
    named: dict[str, TagRow] = {}
    for row in rows:
        name = sample_name(row.image, is_voc)
        if name in named:
            raise InputError(
                f"{row.where}: {row.image} and {named[name].image} ({named[name].where.removeprefix(f'{tags}, ')}) "
                f"would both be called {name!r}, and so would their masks; rename one of them."
            )
        named[name] = row
    return named


def _select(rows: dict[str, TagRow], path: Path, tags: Path) -> dict[str, TagRow]:
    selected: dict[str, TagRow] = {}
    missing: list[str] = []
    for listed in read_split(path):
        if listed in rows:
            selected[listed] = rows[listed]
        else:
            missing.append(listed)
    if missing:
        raise InputError(
            f"{path} lists {len(missing)} photos that have no row in {tags}, the first is {missing[0]!r}: add their "
            "rows (an empty tags cell means none of the classes) or take them off the list."
        )
    return selected


def match_files(folder: Path, photos: dict[str, Path], what: str, required: bool) -> dict[str, Path]:
    """Files of `folder` by sample name: of that name or, where unambiguous, of the last part of that name.

    Args:
        folder: of the files.
        photos: sample name → file.
        what: the files are, for errors.
        required: whether every photo needs one.
    """
    if not folder.is_dir():
        raise InputError(f"{what} folder {folder} does not exist or is no folder: check the path.")
    files: dict[str, Path] = {}
    for file in find_photos(folder):
        name = file.relative_to(folder).with_suffix("").as_posix()
        if name in files:
            raise InputError(
                f"{folder} has two files for {name!r}, {files[name].name} and {file.name}: remove one."
            )
        files[name] = file
    lasts = [PurePosixPath(name).name for name in photos]
    unambiguous = len(set(lasts)) == len(lasts)
    matched: dict[str, Path] = {}
    for name, last in zip(photos, lasts, strict=True):
        file_or_none = files.get(name) or (files.get(last) if unambiguous else None)
        if file_or_none is not None:
            matched[name] = file_or_none
        elif required:
            raise InputError(
                f"photo {photos[name]} has no {what} in {folder}: add {name}.png there (any image suffix will do)."
            )
    if not matched:
        raise InputError(
            f"{folder} has no {what} for any of the {len(photos)} photos: its files must be named after the photos, "
            f"for example {next(iter(photos))}.png."
        )
    return matched


def _check_background(
    background: Sequence[str], classes: tuple[str, ...], mask_classes: tuple[str, ...], masks: Path
) -> None:
    for name in background:
        if name in classes:
            raise InputError(
                f"{name!r} cannot count as background: it is one of the classes {', '.join(classes)}."
            )
        if name not in mask_classes:
            raise InputError(
                f"{name!r} cannot count as background: masks in {masks} have no such class; "
                f"{suggest(name, mask_classes)}."
            )
