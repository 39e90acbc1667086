"""COCO's JSON of annotations: run lengths of whole class regions, by pycocotools; polygons are read, too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from getam.data.coco_regions import pycocotools_mask, run_lengths
from getam.data.mask_formats.base import (
    UNDECIDED,
    PhotoMask,
    Reading,
    Source,
    as_json,
    canvas,
    name_of,
    names_of,
    numbers_of,
    one_each,
    ordered,
    photo_of,
    read_json,
    the_file,
    understanding,
)
from getam.whole_files import write_atomically

TOOL = "COCO"
FILE = "annotations.json"


def results(names: Sequence[str]) -> list[str]:
    """One file."""
    return [FILE]


def write(
    out: Path, classes: tuple[str, ...], masks: Iterable[PhotoMask], prefix: str | None
) -> Counter[str]:
    """`out`/annotations.json, as `annotated` has it. Nothing is lost."""
    write_atomically(out / FILE, as_json(annotated(classes, masks, prefix)))
    return Counter()


def annotated(
    classes: Sequence[str], masks: Iterable[PhotoMask], prefix: str | None = None
) -> dict[str, Any]:
    """Masks as COCO's JSON has them: one annotation a class and photo, category ids are labels.

    What is undecided is a crowd, which training and scoring pass over, of the category `undecided`. Confidences are
    `score`, as in COCO's results.
    """
    coder = pycocotools_mask()
    names = names_of(classes, TOOL)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    undecided_id = len(classes) + 1
    undecided = False
    for mask in masks:
        height, width = mask.label.shape
        image = {"id": len(images) + 1, "file_name": (prefix or "") + photo_of(mask, TOOL)}
        images.append({**image, "width": width, "height": height})
        for number, flags in mask.regions():
            rle = coder.encode(np.asfortranarray(flags.astype(np.uint8)))
            crowd = number == UNDECIDED
            undecided |= crowd
            score = mask.confidences.get(names[number])
            annotations.append({
                "id": len(annotations) + 1,
                "image_id": len(images),
                "category_id": undecided_id if crowd else number,
                "segmentation": {"size": [height, width], "counts": rle["counts"].decode()},
                "area": int(flags.sum()),
                "bbox": [float(side) for side in coder.toBbox(rle)],
                "iscrowd": int(crowd),
                **({} if score is None else {"score": score}),
            })  # fmt: skip
    categories = [
        {"id": number, "name": name, "supercategory": ""} for number, name in enumerate(classes, start=1)
    ]
    if undecided:
        categories.append({"id": undecided_id, "name": names[UNDECIDED], "supercategory": ""})
    content = {"info": {"description": "getam"}, "licenses": [], "images": images}
    return {**content, "annotations": annotations, "categories": categories}


def read(path: Path, reading: Reading) -> Source:
    """A JSON of annotations: run lengths, compressed or not, and polygons.

    Where regions overlap, the smaller one is on top; crowds are undecided. Raises `InputError` for anything else.
    """
    coder = pycocotools_mask()
    file = the_file(path, FILE, TOOL)
    content = read_json(file, TOOL)
    with understanding(file, "the list of images or categories", TOOL):
        categories = sorted(content["categories"], key=lambda category: category["id"])
        classes = ordered([str(category["name"]) for category in categories], reading.classes, file)
        numbers = numbers_of(classes)
        labels = {category["id"]: numbers[str(category["name"])] for category in categories}
        images = content["images"]
        photos = [str(image["file_name"]).replace("\\", "/") for image in images]
        names = one_each([name_of(photo) for photo in photos], file)
        own: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in images}
        for annotation in content["annotations"]:
            own[annotation["image_id"]].append(annotation)
    lost: Counter[str] = Counter()

    def load(name: str, photo: str, image: dict[str, Any]) -> PhotoMask:
        with understanding(file, f"an annotation of {photo}", TOOL):
            label = canvas(int(image["height"]), int(image["width"]))
            regions: list[tuple[int, Any]] = []
            scores: dict[str, float] = {}
            for annotation in own[image["id"]]:
                if not annotation.get("segmentation"):
                    lost["boxes without a mask"] += 1
                    continue
                number = UNDECIDED if annotation.get("iscrowd") else labels[annotation["category_id"]]
                regions.append((number, run_lengths(annotation["segmentation"], label.shape)))
                if "score" in annotation and number != UNDECIDED:
                    scores[classes[number - 1]] = float(annotation["score"])
            for number, rle in sorted(regions, key=lambda region: -int(coder.area(region[1]))):
                left, top, width, height = (int(side) for side in coder.toBbox(rle))
                box = slice(top, top + height), slice(left, left + width)
                label[box][coder.decode(rle)[box] > 0] = number
        return PhotoMask(name, label, photo, confidences=scores)

    return Source(classes, names, (file,), map(load, names, photos, images), lost)
