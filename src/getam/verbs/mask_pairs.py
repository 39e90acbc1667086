"""Predicted masks and true ones: which belong together, and which of their classes are scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from getam.data.collection import read_split
from getam.data.mask_folder import ClassList
from getam.data.tags import suggest
from getam.errors import InputError


def choose_classes(
    predicted: ClassList, true: ClassList, chosen: Sequence[str] | None, masks: Path, truth: Path
) -> tuple[str, ...]:
    """The classes that are scored: those that are chosen, else all that are predicted.

    Raises:
        InputError: one is not in the class lists of both folders, `masks` and `truth`; none, or one twice.
    """
    classes = tuple(predicted.classes if chosen is None else chosen)
    if not classes or len(set(classes)) < len(classes):
        raise InputError(f"classes {list(classes)} must name at least one class, and none twice.")
    for name in classes:
        for folder, listed in ((masks, predicted.classes), (truth, true.classes)):
            if name not in listed:
                raise InputError(
                    f"masks in {folder} have no class {name!r}; {suggest(name, listed)}; choose what to score with "
                    "classes (--classes)."
                )
    return classes


def pair_masks(
    predicted: dict[str, Path], true: dict[str, Path], masks: Path, truth: Path, split: Path | None
) -> dict[str, tuple[Path, Path]]:
    """Name → (predicted, true), of the photos that a split file lists, else of all.

    Args:
        predicted: name → file, of the folder `masks`.
        true: name → file, of the folder `truth`.
        masks, truth: for errors.
        split: text file with an id a line.

    Raises:
        InputError: a folder has no mask, or lacks one of a photo; without a split a true mask has no predicted one.
    """
    if not predicted:
        raise InputError(f"{masks} holds no PNG: give the folder with the predicted masks.")
    if not true:
        raise InputError(f"{truth} holds no PNG: give the folder with the true masks.")
    if not predicted.keys() & true.keys():
        true = _by_last_part(predicted, true)
    wanted = sorted(predicted) if split is None else list(read_split(split))
    where = "" if split is None else f" listed in {split}"
    for what, there, folder in (("predicted", predicted, masks), ("true", true, truth)):
        missing = [name for name in wanted if name not in there]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(wanted)} photos{where} have no {what} mask in {folder}, the first is"
                f" {missing[0]}.png: add them, or list the ids to score in a split file (--split)."
            )
    left = sorted(true.keys() - predicted.keys()) if split is None else []
    if left:
        raise InputError(
            f"{len(left)} of {len(true)} true masks have no predicted one in {masks}, the first is {left[0]}.png: "
            "predict them too, or list the ids to score in a split file (--split)."
        )
    return {name: (predicted[name], true[name]) for name in wanted}


def _by_last_part(predicted: dict[str, Path], true: dict[str, Path]) -> dict[str, Path]:
    """The true masks by predicted name where only the folders differ: `images/a` and `a` are one photo."""
    names = {PurePosixPath(name).name: name for name in predicted}
    short = {PurePosixPath(name).name: file for name, file in true.items()}
    if len(names) < len(predicted) or len(short) < len(true):
        return true
    return {names.get(last, last): file for last, file in short.items()}
