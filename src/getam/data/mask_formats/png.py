"""A PNG a photo and classes.txt, as `label` and `predict` write them; 16-bit where there are more than 254 classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from getam.data.confidences import read_confidences, with_confidences
from getam.data.mask_formats.base import (
    UNDECIDED,
    Label,
    PhotoMask,
    Reading,
    Source,
    name_of,
    one_each,
    ordered,
)
from getam.data.masks import CLASSES_FILE, encode_mask, read_classes, read_mask, write_classes
from getam.data.photo_folder import find_files
from getam.errors import InputError
from getam.label_numbers import IGNORE, MAX_CLASSES, deepened, is_deep
from getam.whole_files import write_atomically

MOST = MAX_CLASSES
TOOL = "getam"


def results(names: Sequence[str]) -> list[str]:
    """The masks, and classes.txt."""
    return [CLASSES_FILE, *(f"{name}.png" for name in names)]


def write(
    out: Path, classes: tuple[str, ...], masks: Iterable[PhotoMask], prefix: str | None
) -> Counter[str]:
    """`out`/NAME.png of each mask, and classes.txt. Nothing is lost."""
    write_classes(out, classes)
    for mask in masks:
        png = encode_mask(mask.label if is_deep(len(classes)) else narrowed(mask.label))
        write_atomically(out / f"{mask.name}.png", with_confidences(png, mask.confidences))
    return Counter()


def read(path: Path, reading: Reading) -> Source:
    """Every PNG of a folder and its subfolders.

    Raises `InputError` for no mask, no class list, and when a mask is read, for one that is no mask or has a label
    beyond the classes.
    """
    if not path.is_dir():
        raise InputError(f"mask folder {path} does not exist or is no folder: check the path")
    files = find_files(path, (".png",))
    if not files:
        raise InputError(f"{path} holds no PNG: give the folder with the masks")
    beside = next((place for place in (path, path.parent) if (place / CLASSES_FILE).is_file()), path)
    if reading.classes is None or (beside / CLASSES_FILE).is_file():
        found = read_classes(beside)
    else:
        found = reading.classes
    classes = ordered(found, reading.classes, beside / CLASSES_FILE)
    names = one_each([name_of(file.relative_to(path).as_posix()) for file in files], path)
    numbers = [classes.index(name) + 1 for name in found]
    return Source(classes, names, (*files, beside / CLASSES_FILE), masks_of(names, files, found, numbers))


def read_one(file: Path, reading: Reading) -> tuple[PhotoMask, tuple[str, ...]]:
    """One mask and its classes: those of classes.txt in its folder or one above, or else those that are given.

    Raises `InputError` as `read`.
    """
    beside = next(
        (place for place in file.absolute().parents if (place / CLASSES_FILE).is_file()), file.parent
    )
    found = beside / CLASSES_FILE
    classes = reading.classes if reading.classes and not found.is_file() else read_classes(beside)
    (mask,) = masks_of([file.stem], [file], classes)
    return mask, tuple(classes)


def masks_of(
    names: Sequence[str], files: Sequence[Path], classes: Sequence[str], numbers: Sequence[int] | None = None
) -> Iterator[PhotoMask]:
    """The masks of those files, read one by one; `numbers` are the labels that classes get, their own when left out."""
    table = np.full(UNDECIDED + 1, UNDECIDED, np.uint16)
    table[: len(classes) + 1] = [0, *(numbers or range(1, len(classes) + 1))]
    return map(partial(_load, count=len(classes), table=table), names, files)


def narrowed(label: Label) -> npt.NDArray[np.uint8]:
    """(H,W) uint16 of at most 254 classes → uint8, undecided 255."""
    return np.where(label == UNDECIDED, IGNORE, label).astype(np.uint8)


def _load(name: str, file: Path, *, count: int, table: Label) -> PhotoMask:
    label = deepened(read_mask(file), count)
    highest = int(label[label != UNDECIDED].max(initial=0))
    if highest > count:
        raise InputError(
            f"mask {file} has label {highest}, beyond the {count} classes: complete {CLASSES_FILE}"
        )
    return PhotoMask(name, table[label], confidences=read_confidences(file))
