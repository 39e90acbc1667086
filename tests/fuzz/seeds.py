"""Good files of tags and masks, as tools write them: what damage begins with."""

from __future__ import annotations

import json

import numpy as np

from getam.data.mask_formats.label_studio_rle import encode_brush

SIZE = (12, 16)


def _json(content: object) -> bytes:
    return json.dumps(content).encode()


_POLYGON = {
    "image_id": 1,
    "category_id": 1,
    "segmentation": [[1, 1, 9, 1, 9, 9]],
    "bbox": [1, 1, 8, 8],
    "area": 32,
}
_RUNS = {
    "image_id": 1,
    "category_id": 2,
    "segmentation": {"size": [12, 16], "counts": [20, 30, 142]},
    "iscrowd": 1,
}
_PACKED = {"image_id": 1, "category_id": 2, "segmentation": {"size": [12, 16], "counts": "V166000000000b2"}}
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 16, "height": 12}],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    "annotations": [{"id": number, **each} for number, each in enumerate((_POLYGON, _RUNS, _PACKED))],
}
CVAT = b"""<?xml version="1.0"?><annotations><version>1.1</version>
<meta><task><labels><label><name>cat</name></label></labels></task></meta>
<image id="0" name="a.jpg" width="16" height="12"><tag label="cat"/>
<polygon label="cat" points="1.0,1.0;9.0,1.0;9.0,9.0" z_order="0"/>
<mask label="cat" rle="2, 3, 1" left="1" top="2" width="3" height="2" z_order="1"/>
<box label="cat" xtl="1" ytl="1" xbr="5" ybr="5"/></image></annotations>"""
VOC_XML = b"""<annotation><filename>a.jpg</filename><size><width>16</width><height>12</height></size>
<object><name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>
</object></annotation>"""
_PLACED = {"original_width": 16, "original_height": 12}
_POINTS = {"points": [[1, 1], [50, 1], [50, 50]], "polygonlabels": ["cat"]}
_BRUSH = {"format": "rle", "rle": encode_brush(np.arange(192).reshape(SIZE) % 5 == 0), "brushlabels": ["dog"]}
TASKS = [
    {
        "id": 1,
        "data": {"image": "/data/local-files/?d=photos/a.jpg"},
        "annotations": [
            {
                "id": 3,
                "result": [
                    {
                        "type": "choices",
                        "value": {"choices": ["cat"]},
                        "from_name": "tag",
                        "to_name": "image",
                    },
                    {"type": "polygonlabels", **_PLACED, "value": _POINTS},
                    {"type": "brushlabels", **_PLACED, "value": _BRUSH},
                ],
            }
        ],
    }
]
LABELME = {
    "version": "5.0",
    "imagePath": "a.jpg",
    "imageWidth": 16,
    "imageHeight": 12,
    "imageData": None,
    "shapes": [
        {"label": "cat", "shape_type": "polygon", "points": [[1, 1], [9, 1], [9, 9]], "group_id": None}
    ],
}
FIFTYONE = {
    "samples": [
        {
            "filepath": "a.jpg",
            "ground_truth": {"_cls": "Classifications", "classifications": [{"label": "cat"}]},
        },
        {"filepath": "b.jpg", "ground_truth": {"_cls": "Classification", "label": "dog"}},
    ]
}
UNFINISHED = b'{"call": {"verb": "predict"}}\n{"key": "a.png", "from": "00", "results": {"a.png": "11"}}\n'

TAGS: dict[str, tuple[str, tuple[bytes, ...]]] = {
    "csv": (
        "tags.csv",
        (
            b"image,tags\na.jpg,cat;dog\nb.jpg,\n",
            b"filename;cat;dog\na.jpg;1;0\nb.jpg;0;?\n",
            "image\ttags\na.jpg\tcat\n".encode("utf-16"),
            b"image,label\na.jpg,cat\na.jpg,dog\n",
        ),
    ),
    "json": (
        "tags.json",
        (
            _json({"a.jpg": ["cat"], "b.jpg": []}),
            b'{"image": "a.jpg", "tags": ["cat"]}\n{"image": "b.jpg", "tags": "dog"}\n',
        ),
    ),
    "coco": ("coco.json", (_json(COCO),)),
    "voc-xml": ("a.xml", (VOC_XML,)),
    "voc-imagesets": ("cat_train.txt", (b"a  1\nb -1\nc  0\n",)),
    "label-studio": ("tasks.json", (_json(TASKS),)),
    "cvat": ("annotations.xml", (CVAT,)),
    "fiftyone": (
        "samples.json",
        (_json(FIFTYONE), _json({"classes": ["cat"], "labels": {"a": "cat", "b": 0}})),
    ),
}
"""Format → name of a file, and contents."""

MASKS: dict[str, tuple[str, bytes]] = {
    "coco": ("annotations.json", _json(COCO)),
    "cvat": ("annotations.xml", CVAT),
    "label-studio": ("tasks.json", _json(TASKS)),
    "labelme": ("a.json", _json(LABELME)),
    "yolo": ("labels/a.txt", b"0 0.1 0.1 0.5 0.1 0.5 0.5\n1 0.2 0.2 0.9 0.2 0.9 0.9\n"),
}
