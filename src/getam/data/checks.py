"""What is wrong with a data set: everything at once, each with its file and what to do about it."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from getam.data.collection import Collection, Sample
from getam.data.duplicates import Glance, duplicates
from getam.data.masks import CLASSES_FILE, read_mask
from getam.errors import InputError
from getam.label_numbers import DEEP_IGNORE, IGNORE

ALIKE = 0.8  # ratio of difflib from which two names look like one
RARE, OFTEN = 2, 5  # photos of a tag that may be a slip, and how many times as many the other has
UNDECIDED = 0.5  # share of a mask that is 255 above which it says too little


@dataclass(frozen=True)
class Problem:
    """Something wrong: where, what, and what to do."""

    where: str
    what: str
    remedy: str


def problem(error: InputError, where: Path | str) -> Problem:
    """An error as a problem: its sentence is divided where the remedy begins.

    >>> problem(InputError("tags.csv, line 3: photo b is not in photos; correct the name."), "tags.csv")
    Problem(where='tags.csv, line 3', what='photo b is not in photos', remedy='correct the name')
    """
    text = str(error).rstrip(".")
    if text.startswith(f"{where}, ") or text.startswith(f"{where}: "):
        head, _, text = text.partition(": ")
        where = head
    for kind in ("photo", "mask"):
        text = text.removeprefix(f"{kind} {where} ")
    what, divider, remedy = text.partition("; ")
    if not divider:
        what, _, remedy = text.rpartition(": ")
    return Problem(str(where), what or text, remedy if what else "")


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
        often = [other for other, its in counts.items() if its >= OFTEN * photos and photos <= RARE]
        folded = {
            other.casefold().replace(" ", "").replace("_", "").replace("-", ""): other for other in often
        }
        plain = name.casefold().replace(" ", "").replace("_", "").replace("-", "")
        if close := difflib.get_close_matches(plain, list(folded), n=1, cutoff=ALIKE):
            other = folded[close[0]]
            what = f"the tag {name!r} ({_photos(photos)}) looks like {other!r} ({_photos(counts[other])})"
            found.append(Problem(str(where), what, f"write {other}, if it is meant"))
        parts = [part.strip() for part in name.replace("|", ",").split(",")]
        if len(parts) > 1 and all(part in counts for part in parts):
            found.append(
                Problem(str(where), f"the tag {name!r} looks like several", f"write {';'.join(parts)}")
            )
    return found


def mask_problems(sample: Sample, collection: Collection, size: tuple[int, int]) -> list[Problem]:
    """What is suspicious in the mask of a sample whose photo has (height, width) `size`; none without a mask."""
    if sample.mask is None:
        return []
    where = str(sample.mask)
    try:
        label = read_mask(sample.mask, size)
    except InputError as error:
        return [problem(error, where)]
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
            )
        )
    frame = np.concatenate([label[0], label[-1], label[:, 0], label[:, -1]])
    if shares.get(ignore, 0.0) > UNDECIDED:
        what = f"{shares[ignore]:.0%} of the mask is {ignore}, undecided"
        found.append(Problem(where, what, f"label more of it; if {ignore} means a class, renumber it"))
    elif (frame == ignore).all():
        remedy = "the mask was padded: cut it to the photo, and enlarge it with nearest neighbour"
        found.append(Problem(where, f"the whole border of the mask is {ignore}", remedy))
    shown = {collection.mask_classes[n - 1] for n in shares if 0 < n <= len(collection.mask_classes)}
    scored = set(collection.classes) - set(sample.unknown)
    if untagged := sorted(shown & scored - set(sample.tags)):
        what = f"shows {', '.join(untagged)}, which the photo is not tagged with"
        found.append(Problem(where, what, "add the tag, or correct the mask"))
    if hidden := sorted(set(sample.tags).intersection(collection.mask_classes) - shown):
        what = f"shows no {', '.join(hidden)}, which the photo is tagged with"
        found.append(Problem(where, what, "take the tag away, or label it in the mask"))
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
        what = f"shows the same as {', '.join(str(other.photo) for other in others)}"
        homes = {home[sample.name] for sample in samples if sample.name in home}
        if len(homes) > 1:
            what += f", across the splits {', '.join(sorted(homes))}"
            remedy = "keep all of them in one split: what is scored must not be trained on"
        elif len({(sample.tags, sample.others) for sample in samples}) > 1:
            said = " / ".join(";".join((*each.tags, *each.others)) or "none" for each in samples)
            what, remedy = f"{what}, with other tags ({said})", "give them the same tags, or keep one"
        else:
            remedy = "keep one of them"
        found.append(Problem(str(first.photo), what, remedy))
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


def _photos(count: int) -> str:
    return f"{count} photo{'' if count == 1 else 's'}"
