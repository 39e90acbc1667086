"""A folder of masks: its files by name, and what their labels are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from getam.data.class_map import DROPPED, ClassMap
from getam.data.masks import CLASSES_FILE, VOID, read_label_names, remap
from getam.data.photo_files import is_voc_layout
from getam.data.photo_folder import find_files
from getam.data.tags import BACKGROUND, suggest
from getam.errors import InputError

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""Labels 1–20 of PASCAL VOC, whose own download carries no classes.txt."""


@dataclass(frozen=True)
class ClassList:
    """Names of labels 1, 2, … of a folder of masks, and whether its label 0 is void instead of background."""

    names: tuple[str, ...]
    void: bool

    @property
    def classes(self) -> tuple[str, ...]:
        """The names that are classes, each once."""
        return tuple(dict.fromkeys(name for name in self.names if name not in (DROPPED, BACKGROUND)))

    @property
    def background(self) -> bool:
        """Whether any of its labels is background: 0, or one that a map has made so."""
        return not self.void or BACKGROUND in self.names


def classes_of(folder: Path, class_map: ClassMap | None = None) -> ClassList:
    """As classes.txt in the folder or the one above says, or as VOC's own masks are; under new names.

    Raises:
        InputError: there is no folder, or no class list.
    """
    if not folder.is_dir():
        raise InputError(f"mask folder {folder} does not exist or is no folder: check the path.")
    first, names = mask_class_names(folder, (), is_voc_layout(folder.parent), class_map)
    return ClassList(names, first == VOID)


def mask_class_names(
    masks: Path, classes: tuple[str, ...], is_voc: bool, class_map: ClassMap | None = None
) -> tuple[str, tuple[str, ...]]:
    """What label 0 is called and the names of labels 1, 2, …, mapped; `InputError` where they lack one of `classes`."""
    found = next((folder for folder in (masks, masks.parent) if (folder / CLASSES_FILE).is_file()), None)
    first, listed = (
        (BACKGROUND, VOC_CLASSES) if found is None and is_voc else read_label_names(found or masks)
    )
    listed = listed if class_map is None else class_map.classes(listed)
    source = f"{found / CLASSES_FILE}" if found else "the class list of PASCAL VOC (there is no classes.txt)"
    for name in classes:
        if name not in listed:
            raise InputError(
                f"masks in {masks} have no class {name!r} according to {source}: write the classes of the masks in "
                f"{masks / CLASSES_FILE}, one a line, the first 'background'; {suggest(name, listed)}."
            )
    return first, listed


def masks_in(folder: Path) -> dict[str, Path]:
    """Name, which is the path in the folder without suffix → file."""
    found: dict[str, Path] = {}
    for file in find_files(folder, (".png",)):
        name = file.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise InputError(
                f"{folder} has two masks for {name!r}, {found[name].name} and {file.name}: remove one."
            )
        found[name] = file
    return found


def remapped(
    file: Path,
    label: Any,
    from_classes: Sequence[str],
    to_classes: Sequence[str],
    void: bool,
    background: Sequence[str] = (),
) -> Any:
    """`remap` of a mask of that file; its background is 0, whatever it is numbered, and so are those classes.

    Errors name the file.
    """
    try:
        return remap(label, from_classes, to_classes, background=(*background, BACKGROUND), void=void)
    except InputError as error:
        raise InputError(f"mask {file}: {error}") from error
