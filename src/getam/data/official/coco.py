"""COCO's instances as semantic masks, by a rule that leaves nothing open.

- Label k is the k-th of the 80 categories in the order of their ids (1, 2, … 90, which has gaps).
- Instances are painted by the number of their pixels, decoded by pycocotools, largest first, so that small ones stay on
  top; of as many pixels, the lower annotation id first.
- Crowds (`iscrowd` 1) are 255, void, where no instance lies. All else is 0, background.
- Tags are all categories annotated in a photo, crowds' too. A photo without annotations has none, and a mask of zeros.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from getam.data.coco_regions import pycocotools_mask, run_lengths
from getam.data.masks import LabelMap, write_classes, write_mask
from getam.data.official.archives import Archive, bring
from getam.data.official.prepared import HASHES, MasksHash, lines, tags_csv
from getam.errors import InputError
from getam.label_numbers import IGNORE

YEARS = ("2014", "2017")
SPLITS = ("train", "val")
_HOST = "http://images.cocodataset.org"


def archives(year: str) -> tuple[Archive, ...]:
    """The annotations, then the photos of train and val. COCO's page gives no checksums."""
    notes = f"annotations_trainval{year}.zip"
    files = tuple(f"annotations/instances_{split}{year}.json" for split in SPLITS)
    photos = tuple(
        Archive(f"{each}.zip", f"{_HOST}/zips/{each}.zip", each, (each,))
        for each in (f"{split}{year}" for split in SPLITS)
    )
    return (Archive(notes, f"{_HOST}/annotations/{notes}", files[0], files), *photos)


def prepare(
    places: Sequence[Path], year: str, out: Path, advance: Callable[[int, str], None]
) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Write the set into the empty folder `out`.

    Args:
        places: the folders where `archives(year)` are unpacked, in their order.
        year: 2014 or 2017.
        out: where to.
        advance: told how many photos are done, and the last one's id.

    Returns:
        Ids of photos by split, and the hash of the masks by split.

    Raises:
        InputError: a file is missing or is not as COCO has it, or pycocotools is not installed.
    """
    notes, *photos = places
    sets = out / "ImageSets" / "Segmentation"
    sets.mkdir(parents=True)
    tags: dict[str, tuple[str, ...]] = {}
    splits: dict[str, tuple[str, ...]] = {}
    hashes: dict[str, str] = {}
    first: tuple[str, ...] | None = None
    for split, folder in zip(SPLITS, photos, strict=True):
        file = notes / "annotations" / f"instances_{split}{year}.json"
        images, annotations, numbers, names = read_instances(file)
        if first is not None and names != first:
            raise InputError(f"{file} has other categories than {SPLITS[0]}: fetch the annotations again.")
        first = names
        hashed = MasksHash()
        for name, image in sorted(images.items()):
            if name in tags:
                raise InputError(f"{file}: photo {name} is in {SPLITS[0]} too: fetch the annotations again.")
            bring(folder / f"{split}{year}" / f"{name}.jpg", out / "JPEGImages" / f"{name}.jpg")
            own = annotations.get(image["id"], [])
            label = semantic(own, numbers, (image["height"], image["width"]))
            write_mask(out / "SegmentationClass" / f"{name}.png", label)
            hashed.add(name, label)
            there = {numbers[each["category_id"]] for each in own}
            tags[name] = tuple(names[number - 1] for number in sorted(there))
            advance(len(tags), name)
        splits[split], hashes[split] = tuple(sorted(images)), hashed.digest()
        (sets / f"{split}.txt").write_bytes(lines(splits[split]))
    assert first is not None
    write_classes(out, first)
    (out / "tags.csv").write_bytes(tags_csv(tags))
    (out / HASHES).write_bytes(lines(f"{each}  {split}" for split, each in hashes.items()))
    return splits, hashes


def read_instances(
    file: Path,
) -> tuple[dict[str, Any], Mapping[int, list[Any]], dict[int, int], tuple[str, ...]]:
    """An `instances_*.json`.

    Returns:
        Images by the stem of their file, annotations by image id, labels by category id, and the names of labels 1, ….

    Raises:
        InputError: it is missing or is not as COCO has it.
    """
    try:
        content = json.loads(file.read_bytes())
        images = {Path(each["file_name"]).stem: each for each in content["images"]}
        annotations: defaultdict[int, list[Any]] = defaultdict(list)
        for each in content["annotations"]:
            annotations[each["image_id"]].append(each)
        categories = sorted(content["categories"], key=lambda each: each["id"])
        numbers = {each["id"]: number for number, each in enumerate(categories, start=1)}
        names = tuple(each["name"] for each in categories)
        if strange := [each["id"] for each in content["annotations"] if each["category_id"] not in numbers]:
            raise InputError(f"{file}: annotation {strange[0]} has no category: fetch the annotations again.")
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{file} is no instances of COCO ({error!r}): fetch or unpack the annotations again."
        ) from error
    return images, annotations, numbers, names


def semantic(
    annotations: Sequence[Mapping[str, Any]], numbers: Mapping[int, int], size: tuple[int, int]
) -> LabelMap:
    """The label map of one photo, (H, W) uint8, by the rule above.

    Args:
        annotations: of the photo, in any order.
        numbers: label by category id.
        size: (H, W).
    """
    instances, crowds = [], []
    for each in annotations:
        flags = decode(each["segmentation"], size)
        if each.get("iscrowd", 0):
            crowds.append(flags)
        else:
            instances.append((-int(flags.sum()), each["id"], numbers[each["category_id"]], flags))
    label = np.zeros(size, np.uint8)
    for _, _, number, flags in sorted(instances, key=lambda each: each[:2]):
        label[flags] = number
    for flags in crowds:
        label[flags & (label == 0)] = IGNORE
    return label


def decode(segmentation: Any, size: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The pixels of polygons or run lengths: (H, W) bool. Raises `InputError` without pycocotools."""
    return np.asarray(pycocotools_mask().decode(run_lengths(segmentation, size)), dtype=bool)
