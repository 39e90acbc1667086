"""Every mask format by the name `getam convert` knows it by."""

from __future__ import annotations

from getam.data.mask_formats import coco, cvat, label_studio, labelme, png, voc, yolo
from getam.data.mask_formats.base import Format
from getam.label_numbers import SHALLOW_CLASSES
from getam.registry import find

PNG = "png"

FORMATS: dict[str, Format] = {
    PNG: Format("getam", png.write, png.read, png.results),
    "voc": Format(
        "VOC tools, CVAT's Segmentation mask 1.1", voc.write, voc.read, voc.results, most=SHALLOW_CLASSES
    ),
    "coco": Format("COCO tools", coco.write, coco.read, coco.results, names_photos=True),
    "cvat": Format("CVAT for images 1.1", cvat.write, cvat.read, cvat.results, names_photos=True),
    "label-studio": Format(
        "Label Studio", label_studio.write, label_studio.read, label_studio.results, names_photos=True
    ),
    "labelme": Format("LabelMe", labelme.write, labelme.read, labelme.results, names_photos=True),
    "yolo": Format("YOLO segmentation", yolo.write, yolo.read, yolo.results, needs_size=True),
}


def find_format(name: str) -> Format:
    """The format of that name. Raises `InputError` for an unknown one."""
    return find("format", name, FORMATS)
