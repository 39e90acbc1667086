"""What every mask format reads and writes: one photo's label map, its class names, and a count of what was lost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from getam.data.masks import voc_palette
from getam.data.tags import suggest
from getam.errors import InputError
from getam.label_numbers import DEEP_IGNORE, MAX_CLASSES

Label = npt.NDArray[np.uint16]
Flags = npt.NDArray[np.bool_]

UNDECIDED = DEEP_IGNORE
"""Label of pixels that are of no class and no background: every format is read as 16 bits."""

UNDECIDED_NAME = "undecided"
"""What such pixels are called in tools that know names only."""


@dataclass(frozen=True)
class PhotoMask:
    """The mask of one photo.

    Attributes:
        name: the photo's path in its folder, with forward slashes and without suffix.
        label: (H,W) uint16: 0 background, 1..C classes, `UNDECIDED`.
        photo: the same path with its suffix, as far as it is known.
        file: where the photo lies, as far as it is known.
        confidences: class name → mean probability of its pixels, for classes where it is known.
    """

    name: str
    label: Label
    photo: str | None = None
    file: Path | None = None
    confidences: Mapping[str, float] = field(default_factory=dict)

    def regions(self) -> Iterator[tuple[int, Flags]]:
        """Label number and (H,W) bool of every class that occurs, and of what is undecided, which comes last."""
        for number in np.unique(self.label[self.label > 0]):
            yield int(number), self.label == number


@dataclass(frozen=True)
class Source:
    """Masks that are read one by one.

    Attributes:
        classes: without background; name i is label i + 1.
        names: of all masks, in their order.
        files: that are read, so that nothing is written over them.
        masks: read when asked for.
        lost: what of the file is no mask and stays behind → how often; complete when all masks are read.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    files: tuple[Path, ...]
    masks: Iterable[PhotoMask]
    lost: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Reading:
    """What is known besides the files of a format.

    Attributes:
        classes: their order; None where the files are to say it.
        size: (height, width) of a photo by the name of its mask, for formats that do not say it.
    """

    classes: tuple[str, ...] | None = None
    size: Callable[[str], tuple[int, int]] | None = None


@dataclass(frozen=True)
class Format:
    """How a tool keeps masks.

    Attributes:
        tool: what reads it, in a few words.
        write: (folder, classes, masks, prefix) → what was lost → how often. `prefix` comes before the photo's path in
            formats that name photos; None is the tool's own custom.
        read: (file or folder, what else is known) → masks.
        results: names of masks → the files `write` will make, relative to the folder.
        names_photos: whether its files name photos, with suffix.
        needs_size: whether reading needs the photos' sizes.
        most: number of classes it has room for.
    """

    tool: str
    write: Callable[[Path, tuple[str, ...], Iterable[PhotoMask], str | None], Counter[str]]
    read: Callable[[Path, Reading], Source]
    results: Callable[[Sequence[str]], list[str]]
    names_photos: bool = False
    needs_size: bool = False
    most: int = MAX_CLASSES


def name_of(photo: str) -> str:
    """The name of a photo's mask: its path without suffix, with forward slashes.

    >>> name_of("a b\\\\c.d.jpg")
    'a b/c.d'
    """
    return PurePosixPath(photo.replace("\\", "/")).with_suffix("").as_posix()


def photo_of(mask: PhotoMask, tool: str) -> str:
    """The path of the mask's photo. Raises `InputError` where it is not known."""
    if mask.photo is None:
        raise InputError(
            f"{tool} wants the file names of photos, and that of {mask.name} is not known: add --photos"
        )
    return mask.photo


def ordered(found: Sequence[str], chosen: Sequence[str] | None, path: Path) -> tuple[str, ...]:
    """The classes of a file without what is undecided: in its order, or as chosen.

    Raises `InputError` for a class that is not among the chosen ones, and where there is none at all.
    """
    names = tuple(dict.fromkeys(name for name in found if name != UNDECIDED_NAME))
    if chosen is not None:
        for name in names:
            if name not in chosen:
                raise InputError(f"{path} has the class {name!r}, --classes has not; {suggest(name, chosen)}")
        return tuple(chosen)
    if not names:
        raise InputError(f"{path} names no class: give them with --classes")
    return names


def numbers_of(classes: Sequence[str]) -> dict[str, int]:
    """Class name → label, `undecided` included."""
    return {**{name: number for number, name in enumerate(classes, start=1)}, UNDECIDED_NAME: UNDECIDED}


def names_of(classes: Sequence[str], tool: str) -> dict[int, str]:
    """Label → class name, `undecided` included. Raises `InputError` where a class has just this name."""
    if UNDECIDED_NAME in classes:
        raise InputError(
            f"a class is called {UNDECIDED_NAME!r}, which {tool} has for undecided pixels: rename it"
        )
    return {number: name for name, number in numbers_of(classes).items()}


def one_each(names: Sequence[str], path: Path) -> tuple[str, ...]:
    """The names; raises `InputError` where two photos would have the same mask, or one a mask outside of its folder."""
    for name, times in Counter(names).items():
        if times > 1:
            raise InputError(f"{path} has {times} photos whose mask would be {name}.png: rename all but one")
        if name in ("", ".") or name.startswith("/") or ".." in name.split("/") or ":" in name.split("/")[0]:
            raise InputError(f"{path} has a photo called {name!r}, no path inside a folder: rename it")
    return tuple(names)


def the_file(path: Path, name: str, tool: str) -> Path:
    """`path`, or in a folder the file of that name, or the only one with its suffix."""
    if path.is_file():
        return path
    if path.is_dir():
        suffix = Path(name).suffix
        found = [path / name] if (path / name).is_file() else sorted(path.glob(f"*{suffix}"))
        if len(found) == 1:
            return found[0]
        raise InputError(
            f"{path} holds {len(found)} {suffix} files, none called {name}: give the file of {tool} itself"
        )
    raise InputError(f"{path} does not exist: give the file or folder that {tool} exported")


def read_json(path: Path, tool: str) -> Any:
    """The content of a JSON file. Raises `InputError` for anything else."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise InputError(f"{path} is no JSON text ({error}): export it from {tool} again") from error


def web_colour(label: int) -> str:
    """The palette's colour of a label, as tools write it.

    >>> web_colour(1)
    '#800000'
    """
    place = label % 256 * 3
    return f"#{bytes(voc_palette())[place : place + 3].hex()}"


def as_json(content: Any) -> bytes:
    """UTF-8 text of JSON, in one line a level of two."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


@contextmanager
def understanding(path: Path, what: str, tool: str) -> Iterator[None]:
    """Turns what broken content raises into an `InputError` that says which part of which file it was."""
    try:
        yield
    except InputError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: {what} is not as {tool} writes it ({reason}): export it again") from error


def canvas(height: int, width: int) -> Label:
    """(H,W) of background. Raises `ValueError` for sizes no photo has."""
    if not (0 < height < 2**16 and 0 < width < 2**16):
        raise ValueError(f"size {width}×{height}")
    return np.zeros((height, width), np.uint16)
