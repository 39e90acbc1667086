"""`getam data split`: tagged photos in splits, each with its share of every class, as files of tags."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from getam.data.collection import Collection, Sample
from getam.data.formats.registry import find_tags, read_tags
from getam.data.stratify import stratified
from getam.data.tag_table import tag_table
from getam.data.tags import TagRow
from getam.errors import InputError
from getam.named import read_named
from getam.outputs.folder import identities, refuse_input
from getam.verbs.from_python import from_python
from getam.verbs.loading import load_and_say
from getam.whole_files import write_atomically

SHARES = ("train=0.8", "val=0.2")


@from_python
def data_split(
    *,
    data: Path,
    tags: Path | None = None,
    format: str | None = None,
    out: Path,
    classes: tuple[str, ...] | None = None,
    shares: tuple[str, ...] = SHARES,
    seed: int = 0,
    overwrite: bool = False,
) -> Path:
    """Divide tagged photos into splits that have their share of every class each.

    By iterative stratification (Sechidis et al., 2011), which suits photos with several tags. The same photos, tags and
    seed give the same splits, whatever the order of the file.

    Args:
        data: folder of photos, or a VOC folder.
        tags: what says which photo shows what, in any format; looked for as `getam train` does when left out.
        format: how the tags are written, if it is not recognised; `getam train --help` lists the names.
        out: folder for a CSV file of tags for each split, to be given as --tags with the same --data.
        classes: these tags only.
        shares: of the splits, each NAME=SHARE, such as train=0.8 val=0.1 test=0.1; they are made to sum to 1.
        seed: decides where several splits are as good.
        overwrite: replace files that exist.

    Returns:
        `out`.

    Raises:
        InputError: bad photos or tags, shares that are none, more splits than photos, files in the way, or a split that
            would be written over the tags.
    """
    parts = _shares(shares)
    collection = load_and_say(data, tags, format=format, classes=classes)
    files = {name: out / f"{name}.csv" for name in parts}
    if len(collection.samples) < len(parts):
        raise InputError(
            f"{len(collection.samples)} photos cannot make {len(parts)} splits: give fewer --shares"
        )
    read = identities([find_tags(data, format=format) if tags is None else tags])
    for file in files.values():
        refuse_input(file, read)
    if not overwrite and (there := [file for file in files.values() if file.exists()]):
        raise InputError(f"{there[0]} exists: give another --out, or --overwrite to replace it")
    samples = sorted(collection.samples, key=lambda sample: sample.name)
    has = np.array([[name in sample.tags for name in collection.classes] for sample in samples])
    dealt = stratified(has, list(parts.values()), np.random.default_rng(seed))
    wide = any(sample.unknown for sample in samples)
    contents = {}
    for number, name in enumerate(parts):
        its = [sample for sample, part in zip(samples, dealt, strict=True) if part == number]
        if not its:
            raise InputError(f"the split {name} has no photo of {len(samples)}: give it a larger share")
        rows = [TagRow(_relative(s.photo, data), s.tags, 0, unknown=s.unknown) for s in its]
        contents[name] = (its, tag_table(rows, collection.classes, wide=wide))
    for name, (its, text) in contents.items():
        write_atomically(files[name], text.encode(errors="surrogateescape"))
        _check_back(files[name], its, collection)
    return out


def _shares(given: Sequence[str]) -> dict[str, float]:
    shares = read_named(given)
    for name, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < float("inf"):
            raise InputError(f"the share {name}={share} is no positive number: write train=0.8")
        if Path(name).name != name:
            raise InputError(f"{name!r} is no name of a split: it becomes the name of a file")
    if len(shares) < 2:
        raise InputError("give two shares or more, as in --shares train=0.8 val=0.2")
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}


def _relative(photo: Path, data: Path) -> str:
    """From the folder of photos where the photo lies in it, else from the root."""
    inside = os.path.relpath(os.path.abspath(photo), os.path.abspath(data))
    return Path(inside).as_posix() if not inside.startswith("..") else os.path.abspath(photo)


def _check_back(file: Path, samples: Sequence[Sample], collection: Collection) -> None:
    """Raises `InputError` where a name of a class or photo does not survive being written as CSV."""
    there = {tag for sample in samples for tag in sample.tags}
    wanted = tuple(name for name in collection.classes if name in there)
    if not wanted:
        return
    for row, sample in zip(read_tags(file, wanted).rows, samples, strict=True):
        unknown = there.intersection(sample.unknown)
        if set(row.tags) != set(sample.tags) or set(row.unknown) != unknown:
            raise InputError(
                f"{file}, line {row.line}: the tags {', '.join(sample.tags)} cannot be written as CSV: rename the class"
            )
