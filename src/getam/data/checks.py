"""What is wrong with a data set: everything at once, each with its file and what to do about it."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from getam.data.collection import Collection, Sample
from getam.data.duplicates import Glance, duplicates
from getam.data.masks import CLASSES_FILE, read_mask
from getam.errors import InputError
from getam.label_numbers import DEEP_IGNORE, IGNORE

ALIKE = 0.8  # ratio of difflib from which two names look like one
RARE, OFTEN = 2, 5  # photos of a tag that may be a slip, and how many times as many the other has
NAMED = 5  # of photos that show the same; the others are counted
UNDECIDED = 0.5  # share of a mask that is 255 above which it says too little


UNREADABLE = "photo that cannot be read"
MISSING = "photo that is missing or could be two"
ONE_NAME = "photos of one name"
NO_TAGS = "tags that cannot be read"
SPELLINGS = "tag in two spellings"
LOOKALIKE = "tag that looks like another"
SEVERAL = "several tags in one"
NO_LIST = "list that cannot be read"
UNLISTED = "name in a list that is not there"
TWO_LISTS = "name in two lists"
NO_MASKS = "masks without the classes"
BAD_MASK = "mask that cannot be used"
AT_ODDS = "mask at odds with classes or tags"
SAME = "photos that show the same"


@dataclass(frozen=True)
class Problem:
    """Something wrong: where, what, and what to do; and what kind it is, to be counted by."""

    where: str
    what: str
    remedy: str
    kind: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True)
class Check:
    """What was found.

    Attributes:
        problems: all of them.
        collection: what could be read.
        splits: names of photos by split.
        remarks: what is no problem but worth knowing.
    """

    problems: tuple[Problem, ...]
    collection: Collection
    splits: Mapping[str, tuple[str, ...]]
    remarks: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """1 where there are problems, else 0."""
        return 1 if self.problems else 0


def problem(error: InputError, where: Path | str, kind: str = "") -> Problem:
    """An error as a problem: its sentence is divided where the remedy begins.

    >>> problem(InputError("tags.csv, line 3: photo b is not in photos; correct the name."), "tags.csv")
    Problem(where='tags.csv, line 3', what='photo b is not in photos', remedy='correct the name')
    """
    text = str(error).rstrip(".")
    if text.startswith(f"{where}, ") or text.startswith(f"{where}: "):
        head, _, text = text.partition(": ")
        where = head
    for thing in ("photo", "mask"):
        text = text.removeprefix(f"{thing} {where} ")
    what, divider, remedy = text.partition("; ")
    if not divider:
        what, _, remedy = text.rpartition(": ")
    return Problem(str(where), what or text, remedy if what else "", kind)


def tag_problems(counts: Mapping[str, int], where: Path | str) -> list[Problem]:
    """Tags that look like slips of the pen: hardly used and close to one that is, or two in one.

    Args:
        counts: photos of every tag.
        where: the file they are from.

    >>> [each.what for each in tag_problems({"horse": 40, "hrose": 1}, "tags.csv")]
    ["the tag 'hrose' (1 photo) looks like 'horse' (40 photos)"]
    """
    found = []
    for name, photos in sorted(counts.items()):
        folded = {_folded(other): other for other in _often(counts, name)}
        plain = _folded(name)
        if close := difflib.get_close_matches(plain, list(folded), n=1, cutoff=ALIKE):
            other = folded[close[0]]
            what = f"the tag {name!r} ({_photos(photos)}) looks like {other!r} ({_photos(counts[other])})"
            kind = SPELLINGS if close[0] == plain else LOOKALIKE
            found.append(Problem(str(where), what, f"write {other}, if it is meant", kind))
        parts = [part.strip() for part in name.replace("|", ",").split(",")]
        if len(parts) > 1 and all(part in counts for part in parts):
            found.append(
                Problem(
                    str(where), f"the tag {name!r} looks like several", f"write {';'.join(parts)}", SEVERAL
                )
            )
    return found


def spellings(counts: Mapping[str, int]) -> dict[str, str]:
    """Rare tags that differ from one frequent tag in case, spaces, hyphens and underscores only → that tag.

    >>> spellings({"traffic light": 40, "Traffic_Light": 1, "traffic lihgt": 1})
    {'Traffic_Light': 'traffic light'}
    """
    found = {}
    for name in counts:
        same = [other for other in _often(counts, name) if _folded(other) == _folded(name)]
        if len(same) == 1:
            found[name] = same[0]
    return found


def _often(counts: Mapping[str, int], name: str) -> list[str]:
    """Tags so much more frequent than a rare one that it may be a slip."""
    photos = counts[name]
    return [other for other, its in counts.items() if its >= OFTEN * photos and photos <= RARE]


def _folded(name: str) -> str:
    return name.casefold().replace(" ", "").replace("_", "").replace("-", "")


def mask_problems(sample: Sample, collection: Collection, size: tuple[int, int]) -> list[Problem]:
    """What is suspicious in the mask of a sample whose photo has (height, width) `size`; none without a mask."""
    if sample.mask is None:
        return []
    where = str(sample.mask)
    try:
        label = read_mask(sample.mask, size)
    except InputError as error:
        return [problem(error, where, BAD_MASK)]
    numbers, counts = np.unique(label, return_counts=True)
    shares = dict(zip(numbers.tolist(), (counts / label.size).tolist(), strict=True))
    found = []
    ignore = IGNORE if label.dtype == np.uint8 else DEEP_IGNORE
    beyond = [number for number in shares if len(collection.mask_classes) < number != ignore]
    if beyond:
        found.append(
            Problem(
                where,
                f"label {', '.join(map(str, beyond))} is beyond the {len(collection.mask_classes)} classes",
                f"complete {CLASSES_FILE} or correct the mask",
                AT_ODDS,
            )
        )
    frame = np.concatenate([label[0], label[-1], label[:, 0], label[:, -1]])
    if shares.get(ignore, 0.0) > UNDECIDED:
        what = f"{shares[ignore]:.0%} of the mask is {ignore}, undecided"
        remedy = f"label more of it; if {ignore} means a class, renumber it"
        found.append(Problem(where, what, remedy, AT_ODDS))
    elif (frame == ignore).all():
        remedy = "the mask was padded: cut it to the photo, and enlarge it with nearest neighbour"
        found.append(Problem(where, f"the whole border of the mask is {ignore}", remedy, AT_ODDS))
    shown = {collection.mask_classes[n - 1] for n in shares if 0 < n <= len(collection.mask_classes)}
    scored = set(collection.classes) - set(sample.unknown)
    if untagged := sorted(shown & scored - set(sample.tags)):
        what = f"shows {', '.join(untagged)}, which the photo is not tagged with"
        found.append(Problem(where, what, "add the tag, or correct the mask", AT_ODDS))
    if hidden := sorted(set(sample.tags).intersection(collection.mask_classes) - shown):
        what = f"shows no {', '.join(hidden)}, which the photo is tagged with"
        found.append(Problem(where, what, "take the tag away, or label it in the mask", AT_ODDS))
    return found


def duplicate_problems(
    seen: Sequence[tuple[Sample, Glance]], splits: Mapping[str, Iterable[str]]
) -> list[Problem]:
    """Photos that show the same: in two splits, with other tags, or just twice.

    Args:
        seen: the photos that could be read.
        splits: names of photos by the name of their split; may be empty.
    """
    home = {name: split for split, names in splits.items() for name in names}
    found = []
    for group in duplicates([each for _, each in seen]):
        samples = [seen[index][0] for index in group]
        first, *others = samples
        what = f"shows the same as {_some([str(other.photo) for other in others], ', ')}"
        homes = {home[sample.name] for sample in samples if sample.name in home}
        if len(homes) > 1:
            what += f", across the splits {', '.join(sorted(homes))}"
            remedy = "keep all of them in one split: what is scored must not be trained on"
        elif len({(sample.tags, sample.others) for sample in samples}) > 1:
            said = dict.fromkeys(";".join((*each.tags, *each.others)) or "none" for each in samples)
            what = f"{what}, with other tags ({_some(list(said), ' / ')})"
            remedy = "give them the same tags, or keep one"
        else:
            remedy = "keep one of them"
        found.append(Problem(str(first.photo), what, remedy, SAME))
    return found


def together(collection: Collection) -> dict[tuple[str, str], int]:
    """In how many photos two classes are together, by their names in the order of the classes; without zeros."""
    pairs = Counter(
        (a, b)
        for sample in collection.samples
        for place, a in enumerate(sample.tags)
        for b in sample.tags[place + 1 :]
    )
    return dict(pairs)


def _some(names: Sequence[str], between: str) -> str:
    """The first of many: a camera that hangs still takes thousands of photos of the same."""
    more = len(names) - NAMED
    return between.join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _photos(count: int) -> str:
    return f"{count} photo{'' if count == 1 else 's'}"
