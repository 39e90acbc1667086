"""Label maps (H, W): 0 background, 1..C classes, or undecided; as files, palette PNGs like VOC's.

They are uint8 and undecided is 255; beyond 254 classes uint16, 65535 and grey PNGs of 16 bits (`label_numbers`).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from getam.data.tags import BACKGROUND, clean_name, is_one_line, listed
from getam.errors import InputError
from getam.label_numbers import DEEP_IGNORE, IGNORE, MAX_CLASSES, ignore_label, label_dtype
from getam.whole_files import write_atomically

CLASSES_FILE = "classes.txt"

VOID = "void"
"""First line of a `classes.txt` whose label 0 is no background but pixels nobody labelled, as in MSRC."""

LabelMap = npt.NDArray[np.uint8 | np.uint16]

DEEP_MODES = ("I;16", "I;16B", "I")
"""What Pillow calls a 16-bit grey PNG, depending on its version."""


def voc_palette() -> list[int]:
    """The 256 colours of PASCAL VOC as 768 numbers 0–255: r, g, b of label 0, of label 1, …

    Bits 0, 1, 2 of the label go to the highest bit of red, green, blue, bits 3, 4, 5 to the next, and so on
    (`VOClabelcolormap` of the VOC development kit).

    >>> voc_palette()[:9]
    [0, 0, 0, 128, 0, 0, 0, 128, 0]
    >>> voc_palette()[-3:]
    [224, 224, 192]
    """
    return [
        sum(((label >> (3 * step + channel)) & 1) << (7 - step) for step in range(8))
        for label in range(256)
        for channel in range(3)
    ]


def write_mask(path: Path | str, label: npt.NDArray[Any]) -> None:
    """Write a label map as `encode_mask` makes it; the file appears whole or not at all.

    The folder is made when needed. Raises `InputError` for another shape or dtype.
    """
    write_atomically(Path(path), encode_mask(label))


def encode_mask(label: npt.NDArray[Any]) -> bytes:
    """The PNG of a (H, W) label map: a palette in VOC colours of uint8, 16-bit grey of uint16 and of torch's int32.

    Raises `InputError` for another shape or dtype, and for an int32 that 16 bits do not hold.
    """
    if label.ndim != 2 or label.dtype not in (np.uint8, np.uint16, np.int32) or label.size == 0:
        raise InputError(
            f"a mask is (H, W) uint8, or uint16 beyond 254 classes, but one was to be written from {label.shape}"
            f" {label.dtype}."
        )
    if label.dtype == np.int32 and not (label.min() >= 0 and label.max() <= DEEP_IGNORE):
        raise InputError(
            f"a mask holds labels 0 to {DEEP_IGNORE}, but one was to be written with {label.min()} to {label.max()}."
        )
    if label.dtype == np.uint8:
        image = Image.fromarray(np.ascontiguousarray(label))
        image.putpalette(voc_palette())  # turns mode L into P and keeps the numbers
    else:
        image = Image.fromarray(np.ascontiguousarray(label, np.uint16))
    encoded = io.BytesIO()
    image.save(encoded, format="PNG", optimize=False)
    return encoded.getvalue()


def read_mask(path: Path | str, size: tuple[int, int] | None = None) -> LabelMap:
    """The label numbers of a palette or grey PNG: (H, W) uint8, or uint16 where it is 16 bits deep.

    `size` is the (height, width) of the photo; a mask of another size is an error, never resized.
    Raises `InputError` for a missing or damaged file, a mask in colours, and a JPEG (which blurs labels).
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"mask {path} does not exist or is no file: check the path.")
    try:
        with Image.open(path) as image:
            kind, mode = image.format, image.mode
            label: LabelMap | None = None
            if mode in ("P", "L"):
                label = np.array(image)
            elif mode in DEEP_MODES and kind == "PNG":
                label = np.array(image).astype(np.uint16)
    except MemoryError:
        raise
    except Exception as error:  # as in photos: Pillow's plugins raise many types on broken files
        raise InputError(
            f"mask {path} cannot be read: the file is truncated, damaged or no image; write it again as a"
            " palette PNG."
        ) from error
    if kind == "JPEG":
        raise InputError(f"mask {path} is a JPEG, which blurs labels: export the masks as palette PNGs.")
    if label is None:
        raise InputError(f"mask {path} is {_describe(mode)}")
    if size is not None and label.shape != size:
        raise InputError(
            f"mask {path} is {label.shape[1]}×{label.shape[0]} but its photo is {size[1]}×{size[0]} (width×height): "
            "write the mask at the size of the photo, resizing with nearest neighbour."
        )
    return label


def write_classes(folder: Path | str, classes: Sequence[str]) -> Path:
    """Write `classes.txt` beside the masks, one name a line, the first line `background`; returns its path.

    `classes` has no background. Raises `InputError` for doubled, empty or reserved names, or more than 65534, which is
    the room of 16 bits.
    """
    path = Path(folder) / CLASSES_FILE
    _check_names(path, classes)
    write_atomically(path, "".join(f"{name}\n" for name in (BACKGROUND, *classes)).encode())
    return path


def read_classes(folder: Path | str) -> tuple[str, ...]:
    """The class names of `classes.txt` in `folder`, without background: name i is label i + 1.

    Raises `InputError` when it is missing, is not UTF-8 text, has too many names, or its first line is not
    `background`.
    """
    first, names = read_label_names(folder)
    if first != BACKGROUND:
        raise _no_background(Path(folder) / CLASSES_FILE, first)
    return names


def read_label_names(folder: Path | str) -> tuple[str, tuple[str, ...]]:
    """What `classes.txt` in `folder` calls label 0, `background` or `void`, and the names of labels 1, 2, …

    Raises `InputError` when it is missing, is not UTF-8 text, has too many names, or its first line is neither.
    """
    path = Path(folder) / CLASSES_FILE
    if not path.is_file():
        raise InputError(
            f"{path} does not exist: write one class name a line, the first line 'background', in the order of the "
            "labels."
        )
    try:
        names = [clean_name(line) for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text: write one class name a line, the first 'background'."
        ) from error
    while names and not names[-1]:
        names.pop()
    first = names[0] if names else ""
    if first not in (BACKGROUND, VOID):
        raise _no_background(path, first)
    _check_names(path, names[1:])
    return first, tuple(names[1:])


def remap(
    label: npt.NDArray[Any],
    from_classes: Sequence[str],
    to_classes: Sequence[str],
    *,
    background: Sequence[str] = (),
    void: bool = False,
) -> LabelMap:
    """The same label map in the numbers of another class list, matched by name; as deep as that list needs.

    Classes of `background` become 0, others that `to_classes` does not have are undecided; what is undecided stays it,
    and 0 stays 0 unless it is `void`: then it is undecided. Both lists are without background. In an 8-bit map 255 is
    undecided; in a 16-bit one 65535, and 255 where it is no class. Raises `InputError` for a label beyond
    `from_classes`.

    >>> remap(np.array([[0, 1, 2, 255]], np.uint8), ("cat", "dog"), ("dog",)).tolist()
    [[0, 255, 1, 255]]
    >>> label = np.array([[0, 1, 2, 3]], np.uint8)
    >>> remap(label, ("cat", "grass", "sky"), ("cat",), background=("grass",), void=True).tolist()
    [[255, 1, 0, 255]]
    """
    present = np.unique(label)
    beyond = present[(present > len(from_classes)) & (present != IGNORE) & (present != DEEP_IGNORE)]
    if beyond.size:
        raise InputError(
            f"label {beyond[0]} is beyond the {len(from_classes)} classes of the list ({listed(from_classes)}):"
            f" complete {CLASSES_FILE} or correct the mask."
        )
    ignore = ignore_label(len(to_classes))
    table = np.full(256 if label.dtype == np.uint8 else DEEP_IGNORE + 1, ignore, label_dtype(len(to_classes)))
    table[0] = ignore if void else 0
    numbers = {name: number for number, name in enumerate(to_classes, start=1)}
    numbers.update(dict.fromkeys(background, 0))
    for number, name in enumerate(from_classes[: len(table) - 2], start=1):
        table[number] = numbers.get(name, ignore)
    return table[label]


def _no_background(path: Path, first: str) -> InputError:
    return InputError(
        f"{path}, line 1: {first!r} where 'background' is expected; line n names label n − 1, and label 0 is always "
        "background."
    )


def _check_names(path: Path, names: Sequence[str]) -> None:
    if not 1 <= len(names) <= MAX_CLASSES:
        raise InputError(
            f"{path}: {len(names)} classes besides background; between 1 and {MAX_CLASSES} are possible."
        )
    seen: set[str] = set()
    for number, name in enumerate(names, start=1):
        if name != name.strip() or not name or not is_one_line(name):
            raise InputError(
                f"{path}: {name!r} is no class name (label {number}); give every label a one-line name."
            )
        if name.casefold() == BACKGROUND:
            raise InputError(f"{path}: {name!r} names label {number}, but background is always label 0.")
        if name in seen:
            raise InputError(f"{path}: {name!r} names two labels; give every label its own name.")
        seen.add(name)


def _describe(mode: str) -> str:
    if mode.startswith(("I", "F")):
        return f"deeper than 8 bits a pixel (mode {mode}) and no PNG: write the label numbers as a PNG."
    if mode == "1":
        return "black and white (mode 1), where white means ignore: write the label numbers as an 8-bit PNG."
    return (
        f"{'RGB' if mode.startswith('RGB') else mode} colours, not label numbers: convert it to a palette PNG whose "
        "palette indices are the labels, by looking every colour up in your colour table."
    )
