"""CVAT's annotations.xml ("CVAT for images 1.1"): run lengths of class regions in their boxes; polygons are read, too.

https://docs.cvat.ai/docs/other/xml_format: the runs go along the rows of the box, the first is off.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from getam.data.mask_formats.base import (
    UNDECIDED,
    Flags,
    Label,
    PhotoMask,
    Reading,
    Source,
    canvas,
    name_of,
    names_of,
    numbers_of,
    one_each,
    ordered,
    photo_of,
    the_file,
    understanding,
    web_colour,
)
from getam.data.mask_formats.outlines import fill
from getam.data.mask_formats.runs import from_run_lengths, run_lengths
from getam.errors import InputError
from getam.whole_files import write_atomically

TOOL = "CVAT"
FILE = "annotations.xml"


def results(names: Sequence[str]) -> list[str]:
    """One file."""
    return [FILE]


def write(
    out: Path, classes: tuple[str, ...], masks: Iterable[PhotoMask], prefix: str | None
) -> Counter[str]:
    """`out`/annotations.xml: a mask a class and photo, undecided pixels as the label `undecided`.

    Confidences have no place in it: they are counted.
    """
    names = names_of(classes, TOOL)
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    labels = ET.SubElement(ET.SubElement(ET.SubElement(root, "meta"), "task"), "labels")
    lost: Counter[str] = Counter()
    undecided = False
    for index, mask in enumerate(masks):
        height, width = mask.label.shape
        photo = (prefix or "") + photo_of(mask, TOOL)
        image = ET.SubElement(root, "image", id=str(index), name=photo, width=str(width), height=str(height))
        for number, flags in mask.regions():
            undecided |= number == UNDECIDED
            _add(image, names[number], flags)
        if mask.confidences:
            lost["confidences"] += len(mask.confidences)
    for number in (*range(1, len(classes) + 1), *([UNDECIDED] if undecided else [])):
        label = ET.SubElement(labels, "label")
        ET.SubElement(label, "name").text = names[number]
        ET.SubElement(label, "color").text = web_colour(number)
        ET.SubElement(label, "attributes")
    write_atomically(out / FILE, ET.tostring(root, encoding="utf-8", xml_declaration=True))
    return lost


def read(path: Path, reading: Reading) -> Source:
    """An exported annotations.xml: masks and polygons, the later and higher one on top; other shapes are counted.

    Raises `InputError` for anything else.
    """
    file = the_file(path, FILE, TOOL)
    try:
        root = ET.parse(file).getroot()
    except ET.ParseError as error:
        raise InputError(
            f"{file} is no XML ({error}): export it from CVAT as 'CVAT for images 1.1' again"
        ) from error
    with understanding(file, "the list of labels or images", TOOL):
        images = root.findall("image")
        if not images:
            raise InputError(f"{file} lists no image: export it from CVAT as 'CVAT for images 1.1'")
        listed = [name.text or "" for name in root.findall("./meta//label/name")]
        used = sorted(
            {shape.attrib["label"] for image in images for shape in image if "label" in shape.attrib}
        )
        classes = ordered([*listed, *used], reading.classes, file)
        photos = [image.attrib["name"].replace("\\", "/") for image in images]
        names = one_each([name_of(photo) for photo in photos], file)
    numbers = numbers_of(classes)
    lost: Counter[str] = Counter()

    def load(name: str, photo: str, image: ET.Element) -> PhotoMask:
        with understanding(file, f"a shape of {photo}", TOOL):
            label = canvas(int(image.attrib["height"]), int(image.attrib["width"]))
            for shape in sorted(image, key=lambda shape: int(shape.attrib.get("z_order", 0))):
                if shape.tag == "mask":
                    _paint(label, shape, numbers[shape.attrib["label"]])
                elif shape.tag == "polygon":
                    corners = [
                        [float(x) for x in pair.split(",")] for pair in shape.attrib["points"].split(";")
                    ]
                    fill(label, np.array(corners), numbers[shape.attrib["label"]])
                else:
                    lost[f"shapes of the kind {shape.tag}"] += 1
        return PhotoMask(name, label, photo)

    return Source(classes, names, (file,), map(load, names, photos, images), lost)


def _add(image: ET.Element, name: str, flags: Flags) -> None:
    rows, columns = np.flatnonzero(flags.any(1)), np.flatnonzero(flags.any(0))
    top, left, height, width = rows[0], columns[0], np.ptp(rows) + 1, np.ptp(columns) + 1
    runs = run_lengths(flags[top : top + height, left : left + width].ravel())
    ET.SubElement(
        image, "mask", label=name, source="auto", occluded="0", rle=", ".join(map(str, runs)),
        left=str(left), top=str(top), width=str(width), height=str(height), z_order="0",
    )  # fmt: skip


def _paint(label: Label, shape: ET.Element, number: int) -> None:
    left, top, width, height = (int(shape.attrib[key]) for key in ("left", "top", "width", "height"))
    inside = label[top : top + height, left : left + width]
    if min(left, top) < 0 or inside.shape != (height, width):
        raise ValueError(f"a mask of {width}×{height} at {left},{top} on {label.shape[1]}×{label.shape[0]}")
    runs = [int(count) for count in shape.attrib["rle"].split(",")]
    inside[from_run_lengths(runs, width * height).reshape(height, width)] = number
