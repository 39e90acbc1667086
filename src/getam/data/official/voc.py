"""PASCAL VOC 2012 with the masks of SBD (Hariharan et al., 2011): photos, tags, masks and the split train_aug.

Tags are the names of all objects in a photo's XML, difficult ones too, as weakly supervised segmentation has them since
AffinityNet (Ahn and Kwak, 2018). train_aug is VOC's train with all of SBD, without VOC's val. Where a photo has a mask
of VOC, that counts; SBD's are for the others.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io

from getam.data.collection import read_split
from getam.data.mask_folder import VOC_CLASSES
from getam.data.masks import LabelMap, read_mask, write_classes, write_mask
from getam.data.official.archives import Archive, bring
from getam.data.official.prepared import HASHES, lines, masks_hash, tags_csv
from getam.errors import InputError
from getam.label_numbers import IGNORE

VOC = "VOCdevkit/VOC2012"
SBD = "benchmark_RELEASE/dataset"
AUGMENTED = "SegmentationClassAug"
TRAIN_AUG = 10_582
"""Photos of train_aug where both archives are complete."""

ARCHIVES = (  # both checksums are those of torchvision.datasets
    Archive(
        "VOCtrainval_11-May-2012.tar",
        "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        VOC,
        tuple(
            f"{VOC}/{each}" for each in ("JPEGImages", "Annotations", "ImageSets/Segmentation", "SegmentationClass")
        ),
        "6cd6e144f989b92b3379bac3b3de84fd",
    ),
    Archive(
        "benchmark.tgz",
        "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
        SBD,
        tuple(f"{SBD}/{each}" for each in ("cls", "train.txt", "val.txt")),
        "82b4d87ceb2ed10f6038a1cba92111cb",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """What was made: photos by split, and the hash of the masks by split."""

    splits: dict[str, tuple[str, ...]]
    hashes: dict[str, str]


def prepare(voc: Path, sbd: Path, out: Path, advance: Callable[[int, str], None]) -> Prepared:
    """Write the set into the empty folder `out`.

    Args:
        voc: the folder above `VOCdevkit`.
        sbd: the folder above `benchmark_RELEASE`.
        out: where to.
        advance: told how many photos are done, and the last one's id.

    Raises:
        InputError: a file is missing or is not as VOC or SBD have it.
    """
    voc, sbd = voc / VOC, sbd / SBD
    lists = {
        name: read_split(voc / "ImageSets" / "Segmentation" / f"{name}.txt") for name in ("train", "val")
    }
    lists["train_aug"] = train_aug(
        lists["train"], lists["val"], (*read_split(sbd / "train.txt"), *read_split(sbd / "val.txt"))
    )
    official = {*lists["train"], *lists["val"]}
    tags = {}
    for done, name in enumerate(sorted({*lists["train_aug"], *lists["val"]}), start=1):
        bring(voc / "JPEGImages" / f"{name}.jpg", out / "JPEGImages" / f"{name}.jpg")
        tags[name] = object_names(voc / "Annotations" / f"{name}.xml")
        if name in official:
            label = read_mask(voc / "SegmentationClass" / f"{name}.png")
            write_mask(out / "SegmentationClass" / f"{name}.png", label)
        else:
            label = read_sbd(sbd / "cls" / f"{name}.mat")
        write_mask(out / AUGMENTED / f"{name}.png", label)
        advance(done, name)
    sets = out / "ImageSets" / "Segmentation"
    sets.mkdir(parents=True)
    for split, names in lists.items():
        (sets / f"{split}.txt").write_bytes(lines(names))
    (out / "tags.csv").write_bytes(tags_csv(tags))
    write_classes(out, VOC_CLASSES)
    hashes = {split: masks_hash(out / AUGMENTED, names) for split, names in lists.items()}
    (out / HASHES).write_bytes(lines(f"{each}  {split}" for split, each in hashes.items()))
    return Prepared(lists, hashes)


def train_aug(train: tuple[str, ...], val: tuple[str, ...], sbd: tuple[str, ...]) -> tuple[str, ...]:
    """VOC's train with all of SBD, without VOC's val; sorted.

    >>> train_aug(("a", "b"), ("c",), ("d", "c", "b"))
    ('a', 'b', 'd')
    """
    return tuple(sorted({*train, *sbd} - {*val}))


def object_names(file: Path) -> tuple[str, ...]:
    """The classes in a photo's XML, in VOC's order. Raises `InputError` for no XML of VOC."""
    try:
        root = ElementTree.parse(file).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise InputError(f"{file} cannot be read ({error}): fetch or unpack VOC again.") from error
    found = {(each.findtext("name") or "").strip() for each in root.iter("object")}
    if strange := sorted(found - {*VOC_CLASSES}):
        raise InputError(f"{file}: {strange[0]!r} is no class of VOC: fetch or unpack VOC again.")
    return tuple(name for name in VOC_CLASSES if name in found)


def read_sbd(file: Path) -> LabelMap:
    """The label map of one of SBD's `cls/*.mat`: (H, W) uint8, 0–20. Raises `InputError` where it is none."""
    try:
        label = np.asarray(scipy.io.loadmat(str(file))["GTcls"][0, 0]["Segmentation"])
    except Exception as error:  # scipy raises many types on broken files
        raise InputError(
            f"{file} holds no GTcls.Segmentation ({error}): fetch or unpack SBD again."
        ) from error
    present = np.unique(label)
    if label.ndim != 2 or not np.isin(present, (*range(len(VOC_CLASSES) + 1), IGNORE)).all():
        raise InputError(
            f"{file} holds no labels of VOC's {len(VOC_CLASSES)} classes: fetch or unpack SBD again."
        )
    return label.astype(np.uint8)
