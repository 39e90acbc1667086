"""A VOC tree, SegmentationClass/, ImageSets/Segmentation/ and labelmap.txt: CVAT's "Segmentation mask 1.1", too.

Colours decide on reading, as in CVAT, whose palettes need not be VOC's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from getam.data.mask_formats.base import (
    UNDECIDED,
    UNDECIDED_NAME,
    Label,
    PhotoMask,
    Reading,
    Source,
    name_of,
    names_of,
    one_each,
    ordered,
)
from getam.data.masks import encode_mask, voc_palette
from getam.data.photo_folder import find_files
from getam.data.tags import BACKGROUND
from getam.errors import InputError
from getam.label_numbers import IGNORE
from getam.whole_files import write_atomically

TOOL = "VOC"
MASKS = "SegmentationClass"
LIST = "ImageSets/Segmentation/default.txt"
LABELMAP = "labelmap.txt"

Colours = npt.NDArray[np.int64]


def results(names: Sequence[str]) -> list[str]:
    """The masks, their list and the colours."""
    return [LABELMAP, LIST, *(f"{MASKS}/{name}.png" for name in names)]


def write(
    out: Path, classes: tuple[str, ...], masks: Iterable[PhotoMask], prefix: str | None
) -> Counter[str]:
    """The tree; undecided pixels have VOC's own 255. Confidences have no place in it: they are counted.

    Raises `InputError` for a class name that a labelmap.txt cannot hold.
    """
    names = names_of(classes, TOOL)
    for name in classes:
        if ":" in name or name.startswith("#"):
            raise InputError(
                f"labelmap.txt has no room for the class name {name!r} (a colon, or # first): rename it"
            )
    lost: Counter[str] = Counter()
    listed: list[str] = []
    undecided = False
    for mask in masks:
        listed.append(mask.name)
        if mask.confidences:
            lost["confidences"] += len(mask.confidences)
        undecided |= bool((mask.label == UNDECIDED).any())
        label = np.where(mask.label == UNDECIDED, IGNORE, mask.label).astype(np.uint8)
        write_atomically(out / MASKS / f"{mask.name}.png", encode_mask(label))
    palette = np.array(voc_palette()).reshape(256, 3).tolist()
    rows = [
        (BACKGROUND, palette[0]),
        *((names[number], palette[number]) for number in range(1, len(classes) + 1)),
    ]
    if undecided:  # only then: CVAT wants a label of this name in the project
        rows.append((UNDECIDED_NAME, palette[IGNORE]))
    lines = ["# label:color_rgb:parts:actions", *(f"{name}:{r},{g},{b}::" for name, (r, g, b) in rows)]
    write_atomically(out / LIST, "".join(f"{name}\n" for name in listed).encode())
    write_atomically(out / LABELMAP, "".join(f"{line}\n" for line in lines).encode())
    return lost


def read(path: Path, reading: Reading) -> Source:
    """SegmentationClass/ of a VOC tree, or of an unpacked CVAT export; palette or RGB PNGs.

    Without labelmap.txt the colours are VOC's, and the classes must be given. Raises `InputError` for anything else,
    and when a mask is read, for a colour that is no class's.
    """
    folder = path / MASKS
    if not folder.is_dir():
        raise InputError(f"{path} has no folder {MASKS}: give the folder above it, a zip unpacked")
    files = find_files(folder, (".png",))
    if not files:
        raise InputError(f"{folder} holds no PNG: give the folder of a VOC tree with masks")
    labelmap = path / LABELMAP
    if labelmap.is_file():
        colours = _read_labelmap(labelmap)
        found = [name for name in colours if name != BACKGROUND]
        classes = ordered(found, reading.classes, labelmap)
        numbers = {name: 1 + classes.index(name) for name in found if name != UNDECIDED_NAME}
        codes = {colours[name]: number for name, number in numbers.items()}
        codes.setdefault(colours.get(BACKGROUND, 0), 0)
    elif reading.classes is not None:
        classes = reading.classes
        codes = {code: number for number, code in enumerate(_codes(_palette())[: len(classes) + 1].tolist())}
    else:
        raise InputError(
            f"{labelmap} does not exist: name the classes with --classes, in the order of the labels"
        )
    codes.setdefault(int(_codes(_palette())[IGNORE]), UNDECIDED)
    names = one_each([name_of(file.relative_to(folder).as_posix()) for file in files], folder)

    def load(name: str, file: Path) -> PhotoMask:
        return PhotoMask(name, _read_colours(file, codes))

    return Source(classes, names, (*files, labelmap), map(load, names, files))


def _palette() -> Colours:
    return np.array(voc_palette(), np.int64).reshape(256, 3)


def _codes(colours: Colours) -> Colours:
    """(…,3) colours → (…) one number each."""
    return colours[..., 0] * 65536 + colours[..., 1] * 256 + colours[..., 2]


def _read_labelmap(path: Path) -> dict[str, int]:
    colours: dict[str, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colour = (*line.split(":"), "")[:2]
        try:
            red, green, blue = map(int, colour.split(","))
        except ValueError:
            raise InputError(
                f"{path}, line {number}: {line!r} is not NAME:RED,GREEN,BLUE::; export it with colours"
            ) from None
        colours[name.strip()] = int(_codes(np.array([red, green, blue], np.int64)))
    return colours


def _read_colours(file: Path, codes: dict[int, int]) -> Label:
    try:
        with Image.open(file) as image:
            pixels = np.array(image.convert("RGB"), dtype=np.int64)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise many types on broken files
        raise InputError(
            f"mask {file} cannot be read: it is truncated, damaged or no image; export it again"
        ) from error
    present, places = np.unique(_codes(pixels), return_inverse=True)
    for code in present.tolist():
        if code not in codes:
            colour = (code >> 16, code >> 8 & 255, code & 255)
            raise InputError(
                f"mask {file} has the colour {colour}, which is no class's: add it to {LABELMAP}"
            )
    table = np.array([codes[code] for code in present.tolist()], np.uint16)
    return table[places.reshape(pixels.shape[:2])]
