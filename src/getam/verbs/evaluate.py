"""`getam evaluate`: score a folder of predicted masks against a folder of truth, and record how."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from getam.data.class_map import read_class_map
from getam.data.collection import names_hash
from getam.data.mask_folder import ClassList, classes_of, masks_in, remapped
from getam.data.masks import CLASSES_FILE, read_mask
from getam.data.tags import BACKGROUND
from getam.errors import InputError
from getam.metrics.bootstrap import DEFAULT, Bootstrap, Interval, difference_interval, interval
from getam.metrics.confusion import ConfusionMatrix, Counts, Scores, hits_and_unions
from getam.metrics.dice import dice
from getam.metrics.hausdorff import HausdorffScore
from getam.outputs.folder import identities, refuse_input
from getam.verbs.from_python import from_python
from getam.verbs.mask_pairs import choose_classes, pair_masks
from getam.whole_files import write_atomically

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Protocol:
    """What was scored and how: two mIoUs can be compared when these agree."""

    classes: tuple[str, ...]
    """Without background."""
    photos: int
    ids_sha256: str
    """sha256 of the sorted ids of the photos, each followed by a line feed."""
    split: str | None
    metric: str = "one confusion matrix over all pixels; mean IoU over background and the classes that occur"
    by_photo: str = (
        "Dice and HD95 of each photo with the class in either mask, averaged over photos, then over classes without "
        "background; HD95 in pixels, the photo's diagonal where one mask lacks the class"
    )
    ignored: str = "truth pixels of 255 (65535 in 16 bits), and of classes that are not scored"
    unlabelled: str = (
        "predicted pixels of 255 (65535), and of classes that are not scored: a miss, no false positive"
    )
    intervals: Bootstrap = DEFAULT
    background: bool = True
    """Whether background is a class; not where the true masks' label 0 is void and no other label is background: then
    predicted background is no label."""
    renamed: Mapping[str, str] | None = None
    """Names of classes → those they were scored under; "" for dropped ones."""


@dataclass(frozen=True)
class Against:
    """Another folder of masks, scored on the same photos under the same protocol."""

    masks: str
    miou: float
    interval: Interval | None
    difference: float
    """mIoU of the evaluated masks minus `miou`."""
    difference_interval: Interval | None
    """From the same draws of photos for both: narrower than two intervals side by side."""


@dataclass(frozen=True)
class Evaluation:
    """The scores of a folder of masks; between 0 and 1 but for distances, NaN for a class that occurs nowhere."""

    miou: float
    interval: Interval | None
    """95 % interval of `miou`, by drawing photos again; None of one photo."""
    iou: dict[str, float]
    """By class name, `background` first."""
    pixel_accuracy: float
    false_positive_rate: float
    """Mean over the classes of FP / (TP + FP + FN): painted too much."""
    false_negative_rate: float
    """Mean over the classes of FN / (TP + FP + FN): painted too little."""
    mean_dice: float
    dice: dict[str, float]
    """By class name, without background: `getam.metrics.dice`."""
    mean_hd95: float
    hd95: dict[str, float]
    """By class name, without background, in pixels: `getam.metrics.hausdorff`."""
    protocol: Protocol
    against: Against | None = None

    def as_json(self) -> str:
        """The same as JSON text; NaN is null."""
        content: dict[str, Any] = asdict(self)
        return json.dumps(_nan_as_none(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


@from_python
def evaluate(
    masks: Path,
    truth: Path,
    /,
    *,
    classes: tuple[str, ...] | None = None,
    map: Path | None = None,
    split: Path | None = None,
    against: Path | None = None,
    out: Path | None = None,
    overwrite: bool = False,
) -> Evaluation:
    """Score predicted masks against true ones: IoU, Dice and HD95 per class, and mIoU with a 95 % interval.

    Masks are matched by file name, classes by name. Pixels that the truth marks 255, or as a class that is
    not scored, do not count. Where the first line of the truth's classes.txt is `void`, pixels without a label do not
    count, and background is no class unless `map` makes it one.

    Args:
        masks: Folder of predicted masks (palette PNGs) with classes.txt in it or in the folder above.
        truth: Folder of true masks of the same names and sizes, with its own classes.txt.
        classes: Score only these classes; all of the predicted masks' classes.txt when left out.
        map: CSV of from,to lines, or YAML, with new names for classes of predicted and of true masks: two with one name
            are merged, one with an empty name is not scored, one called background is that. `classes` are new names.
        split: Text file with one photo id a line; score only these. Without it every true mask needs a
            predicted one, so that hard photos cannot be left out unnoticed.
        against: Another folder of predicted masks of the same photos: gives the difference of the two mIoUs, this one
            subtracted, with its own interval.
        out: Write the scores and the protocol to this JSON file.
        overwrite: Replace the JSON file if it exists.

    Returns:
        The scores and the protocol they were measured under.

    Raises:
        InputError: A folder, mask or class list is missing, damaged or does not fit the other one.
    """
    if out is not None and out.exists() and not overwrite:
        raise InputError(
            f"{out} exists already: choose another file or overwrite it with overwrite (--overwrite)."
        )
    folders = [folder for folder in (masks, truth, against) if folder is not None]
    class_map = None if map is None else read_class_map(map)
    predicted_classes, true_classes = classes_of(masks, class_map), classes_of(truth, class_map)
    if class_map is not None:
        class_map.require_found(name for folder in folders for name in classes_of(folder).names)
    scored_classes = choose_classes(predicted_classes, true_classes, classes, masks, truth)
    predicted_files, true_files = masks_in(masks), masks_in(truth)
    pairs = pair_masks(predicted_files, true_files, masks, truth, split)
    rivals, rival_files = None, dict[str, Path]()
    if against is not None:
        other_classes = classes_of(against, class_map)
        rival_files = masks_in(against)
        choose_classes(other_classes, true_classes, scored_classes, against, truth)
        theirs = pair_masks(rival_files, true_files, against, truth, split)
        by_truth = {true: own for own, true in theirs.values()}
        rivals = [(by_truth[true], true) for _, true in pairs.values()]  # in the order of `pairs`
    if out is not None:
        lists = [folder / CLASSES_FILE for near in folders for folder in (near, near.parent)]
        given = [file for file in (split, map) if file is not None]
        scored = [*predicted_files.values(), *true_files.values(), *rival_files.values()]
        refuse_input(out, identities([*scored, *lists, *given]))

    distances = HausdorffScore(len(scored_classes))
    found, counts = _score(pairs.values(), predicted_classes, true_classes, scored_classes, distances)
    overlap, apart = dice(counts), distances.compute()
    compared = None
    if against is not None and rivals is not None:
        its, its_counts = _score(rivals, other_classes, true_classes, scored_classes)
        compared = Against(
            str(against), its.miou, interval(its_counts), found.miou - its.miou,
            difference_interval(counts, its_counts),
        )  # fmt: skip
    result = Evaluation(
        miou=found.miou,
        interval=interval(counts),
        iou=dict(zip((BACKGROUND, *scored_classes), found.iou, strict=True)),
        pixel_accuracy=found.pixel_accuracy,
        false_positive_rate=found.false_positive_rate,
        false_negative_rate=found.false_negative_rate,
        mean_dice=overlap.mean,
        dice=dict(zip(scored_classes, overlap.per_class, strict=True)),
        mean_hd95=apart.mean,
        hd95=dict(zip(scored_classes, apart.per_class, strict=True)),
        protocol=Protocol(
            scored_classes,
            len(pairs),
            names_hash(pairs),
            split.name if split else None,
            background=true_classes.background,
            renamed=None if class_map is None else dict(class_map.names),
        ),
        against=compared,
    )
    if out is not None:
        write_atomically(out, result.as_json().encode())
    return result


def _score(
    pairs: Collection[tuple[Path, Path]],
    predicted_classes: ClassList,
    true_classes: ClassList,
    scored_classes: Sequence[str],
    distances: HausdorffScore | None = None,
) -> tuple[Scores, Counts]:
    """Scores of all photos, and (N,2,C+1) `hits_and_unions` of each; `distances` is updated with them."""
    matrix = ConfusionMatrix(len(scored_classes))
    predicted_void = predicted_classes.void or not true_classes.background
    counts: list[Counts] = []
    for predicted_file, true_file in _progress(pairs, len(pairs)):
        predicted, true = read_mask(predicted_file), read_mask(true_file)
        if predicted.shape != true.shape:
            raise InputError(
                f"mask {predicted_file} is {predicted.shape[1]}×{predicted.shape[0]} but its truth {true_file} is "
                f"{true.shape[1]}×{true.shape[0]} (width×height): predict at the size of the photo."
            )
        said = remapped(predicted_file, predicted, predicted_classes.names, scored_classes, predicted_void)
        true = remapped(true_file, true, true_classes.names, scored_classes, true_classes.void)
        counts.append(hits_and_unions(matrix.update(said, true)))
        if distances is not None:
            distances.update(said, true)
    return matrix.compute(), np.stack(counts)


def _progress(pairs: Iterable[tuple[Path, Path]], total: int) -> Iterator[tuple[Path, Path]]:
    """A bar on a terminal; elsewhere one log line at the end. Always on stderr: stdout is for results."""
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(pairs, "scoring", total=total, console=console, transient=True)
    else:
        yield from pairs
    logger.info("scored %d masks", total)


def _nan_as_none(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _nan_as_none(value) for key, value in content.items()}
    if isinstance(content, float) and math.isnan(content):
        return None
    return content
