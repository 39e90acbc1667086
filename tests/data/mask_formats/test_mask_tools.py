"""What the tools' own code makes of the files: pycocotools, Label Studio's converter, datumaro (CVAT's reader)."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import tracemalloc
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from getam.data.mask_formats import coco, cvat, label_studio, labelme, voc, yolo
from getam.data.mask_formats.base import UNDECIDED, PhotoMask, Reading
from getam.errors import InputError

CLASSES = ("cat", "dog")
LABEL = np.array([
    [0, 1, 1, 1, 0, 2],
    [0, 1, 0, 1, 0, 0],
    [0, 1, 1, 1, UNDECIDED, UNDECIDED],
    [2, 0, 0, 0, 0, 1],
], np.uint16)  # fmt: skip


def mask(label: np.ndarray = LABEL, **more: object) -> PhotoMask:
    return PhotoMask("sub/a b", label, "sub/a b.jpg", **more)


# COCO


def test_pycocotools_finds_the_same_pixels_areas_and_boxes(tmp_path: Path) -> None:
    api = pytest.importorskip("pycocotools.coco")
    coco.write(tmp_path, CLASSES, iter([mask(confidences={"cat": 0.5})]), "images/")
    with contextlib.redirect_stdout(io.StringIO()):
        data = api.COCO(tmp_path / "annotations.json")
    assert data.imgs[1] == {"id": 1, "file_name": "images/sub/a b.jpg", "width": 6, "height": 4}
    names = {number: category["name"] for number, category in data.cats.items()}
    assert names == {1: "cat", 2: "dog", 3: "undecided"}
    found = {annotation["category_id"]: annotation for annotation in data.anns.values()}
    for number, value in ((1, 1), (2, 2), (3, UNDECIDED)):
        np.testing.assert_array_equal(data.annToMask(found[number]), value == LABEL)
        assert found[number]["area"] == (value == LABEL).sum()
        assert found[number]["iscrowd"] == (number == 3)
    assert found[3]["bbox"] == [4, 2, 2, 1]
    assert (found[1]["score"], found[2].get("score")) == (0.5, None)
    assert len(data.dataset["categories"]) == 3
    decided = PhotoMask("b", LABEL % UNDECIDED, "b.jpg")
    coco.write(tmp_path / "mixed", CLASSES, iter([mask(), decided]), None)  # undecided in the first alone
    assert len(json.loads((tmp_path / "mixed" / "annotations.json").read_text())["categories"]) == 3
    coco.write(tmp_path / "all", CLASSES, iter([decided]), None)
    assert len(json.loads((tmp_path / "all" / "annotations.json").read_text())["categories"]) == 2


def coco_file(folder: Path, annotations: list[dict], **image: object) -> Path:
    file = folder / "instances.json"
    content = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 6, "height": 4, **image}],
        "annotations": [{"image_id": 7, **annotation} for annotation in annotations],
        "categories": [{"id": 90, "name": "dog"}, {"id": 3, "name": "cat"}],
    }
    file.write_text(json.dumps(content))
    return file


def test_instances_of_others_polygons_runs_crowds_boxes_and_the_smaller_one_on_top(tmp_path: Path) -> None:
    file = coco_file(tmp_path, [
        {"category_id": 90, "segmentation": [[1, 1, 3, 1, 3, 3, 1, 3]]},
        {"category_id": 3, "segmentation": {"size": [4, 6], "counts": [0, 24]}},
        {"category_id": 90, "segmentation": {"size": [4, 6], "counts": [20, 1, 3]}, "iscrowd": 1},
        {"category_id": 3, "bbox": [0, 0, 2, 2]},
        {"category_id": 90, "bbox": [1, 0, 2, 2], "segmentation": []},
    ])  # fmt: skip
    source = coco.read(tmp_path, Reading())
    (found,) = source.masks
    expected = np.ones((4, 6), int)
    expected[1:3, 1:3], expected[0, 5] = 2, UNDECIDED  # columns first
    assert (source.classes, source.files, found.photo) == (("cat", "dog"), (file,), "a.jpg")
    np.testing.assert_array_equal(found.label, expected)
    assert source.lost == {"boxes without a mask": 2}


def test_many_regions_of_a_large_photo_take_little_memory(tmp_path: Path) -> None:
    """Each is held as run lengths until it is painted, and painted where it is."""
    side = 20
    corners = [(x, y) for y in range(0, 2000, 200) for x in range(0, 3000, 200)]
    coco_file(tmp_path, [
        {"category_id": 3, "segmentation": [[x, y, x + side, y, x + side, y + side, x, y + side]]} for x, y in corners
    ], width=3000, height=2000)  # fmt: skip
    tracemalloc.start()
    (found,) = coco.read(tmp_path, Reading()).masks
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert all((found.label[y : y + side, x : x + side] == 1).all() for x, y in corners)
    assert found.label.sum() == len(corners) * side**2
    assert peak < 10 * found.label.size  # bytes


@pytest.mark.parametrize("annotation", [
    {"category_id": 4, "segmentation": [[1, 1, 3, 1, 3, 3]]},
    {"category_id": 3, "segmentation": {"size": [6, 4], "counts": [0, 24]}},
    {"category_id": 3, "segmentation": {"counts": [0, 24]}},
])  # fmt: skip
def test_annotations_that_do_not_fit_are_one_sentence(annotation: dict, tmp_path: Path) -> None:
    coco_file(tmp_path, [annotation])
    with pytest.raises(InputError, match=r"instances\.json: an annotation of a\.jpg"):
        list(coco.read(tmp_path, Reading()).masks)
    coco_file(tmp_path, [], width=0)
    with pytest.raises(InputError, match="size 0×4"):
        list(coco.read(tmp_path, Reading()).masks)


def test_of_several_files_none_is_guessed(tmp_path: Path) -> None:
    coco_file(tmp_path, [])
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(InputError, match=r"2 \.json files"):
        coco.read(tmp_path, Reading())
    with pytest.raises(InputError, match="categories"):
        coco.read(tmp_path / "other.json", Reading())


# CVAT


def test_runs_of_cvat_go_along_the_rows_of_the_box(tmp_path: Path) -> None:
    cvat.write(tmp_path, CLASSES, iter([mask()]), "task/")
    root = ET.parse(tmp_path / "annotations.xml").getroot()
    (image,) = root.iter("image")
    assert image.attrib == {"id": "0", "name": "task/sub/a b.jpg", "width": "6", "height": "4"}
    first, second, last = image
    keys = ("label", "left", "top", "width", "height", "rle")
    assert [first.attrib[key] for key in keys] == ["cat", "1", "0", "5", "4", "0, 3, 2, 1, 1, 1, 2, 3, 6, 1"]
    assert [second.attrib[key] for key in keys] == ["dog", "0", "0", "6", "4", "5, 1, 12, 1, 5"]
    assert [last.attrib[key] for key in keys] == ["undecided", "4", "2", "2", "1", "0, 2"]
    assert [name.text for name in root.findall("meta/task/labels/label/name")] == ["cat", "dog", "undecided"]
    assert [colour.text for colour in root.iter("color")] == ["#800000", "#008000", "#e0e0c0"]
    cvat.write(tmp_path, CLASSES, iter([mask(LABEL % UNDECIDED)]), None)
    assert "undecided" not in (tmp_path / "annotations.xml").read_text()


def test_shapes_of_cvat_lie_in_the_order_of_their_layers(tmp_path: Path) -> None:
    (tmp_path / "annotations.xml").write_text(
        '<annotations><image id="5" name="f/a.jpg" width="4" height="3">'
        '<mask label="dog" rle="0, 2" left="1" top="1" width="2" height="1" z_order="2"/>'
        '<polygon label="cat" points="0.0,0.0;3.0,0.0;3.0,3.0;0.0,3.0" z_order="1"/>'
        '<box label="cat" xtl="0" ytl="0" xbr="1" ybr="1"/></image></annotations>'
    )
    source = cvat.read(tmp_path, Reading())
    assert [mask.label.tolist() for mask in source.masks] == [[[1, 1, 1, 0], [1, 2, 2, 0], [1, 1, 1, 0]]]
    assert (source.classes, source.names, source.lost) == (
        ("cat", "dog"),
        ("f/a",),
        {"shapes of the kind box": 1},
    )


@pytest.mark.parametrize(("box", "rle"), [((-1, 0, 2, 1), "2"), ((-2, 0, 1, 1), "0, 1"), ((0, -2, 1, 1), "0, 1"),
                                          ((3, 0, 2, 1), "2"), ((0, 0, 2, 1), "3"),
                                          ((0, 0, 2, 1), "-1, 3"), ((0, 0, 2, 1), "x")])  # fmt: skip
def test_masks_beyond_the_photo_are_one_sentence(box: tuple[int, ...], rle: str, tmp_path: Path) -> None:
    left, top, width, height = box
    (tmp_path / "annotations.xml").write_text(
        f'<annotations><image id="0" name="a.jpg" width="4" height="3"><mask label="dog" rle="{rle}" left="{left}" '
        f'top="{top}" width="{width}" height="{height}"/></image></annotations>'
    )
    with pytest.raises(InputError, match=r"a shape of a\.jpg"):
        list(cvat.read(tmp_path, Reading()).masks)


@pytest.mark.parametrize("kind", ["cvat", "voc"])
def test_datumaro_reads_what_cvat_would(kind: str, tmp_path: Path) -> None:
    datumaro = pytest.importorskip(
        "datumaro", reason="wants an older Pillow than ours: run in a place of its own"
    )
    photo = mask()
    if kind == "cvat":
        cvat.write(tmp_path, CLASSES, iter([photo]), None)
        (tmp_path / "images" / "sub").mkdir(parents=True)
        Image.new("RGB", (6, 4)).save(tmp_path / "images" / "sub" / "a b.jpg")
    else:
        voc.write(tmp_path, CLASSES, iter([photo]), None)
    data = datumaro.Dataset.import_from(str(tmp_path), {"voc": "voc_segmentation"}.get(kind, kind))
    (item,) = data
    assert item.id == "sub/a b"
    names = {
        index: label.name
        for index, label in enumerate(data.categories()[datumaro.AnnotationType.label].items)
    }
    found = np.zeros(LABEL.shape, int)
    numbers = {"background": 0, "cat": 1, "dog": 2, "undecided": UNDECIDED}
    for annotation in item.annotations:
        found[annotation.image.astype(bool)] = numbers[names[annotation.label]]
    np.testing.assert_array_equal(found, LABEL)


# VOC


def test_colours_of_a_labelmap_decide_in_palettes_and_rgb(tmp_path: Path) -> None:
    folder = tmp_path / "SegmentationClass"
    folder.mkdir()
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\ndog:1,2,3::\nbackground:9,9,9::\ncat:0,0,0::\n"
    )
    colours = np.array([[[1, 2, 3], [9, 9, 9], [0, 0, 0], [224, 224, 192]]], np.uint8)
    Image.fromarray(colours).save(folder / "rgb.png")
    Image.fromarray(colours).quantize(4).save(folder / "palette.png")
    source = voc.read(tmp_path, Reading())
    assert source.classes == ("dog", "cat")
    assert [mask.label.tolist() for mask in source.masks] == [[[1, 0, 2, UNDECIDED]]] * 2
    Image.new("RGB", (1, 1), (1, 2, 4)).save(folder / "rgb.png")
    with pytest.raises(InputError, match=r"rgb\.png has the colour \(1, 2, 4\)"):
        list(voc.read(tmp_path, Reading()).masks)
    (tmp_path / "labelmap.txt").write_text("dog:1,2::\n")
    with pytest.raises(InputError, match="line 1"):
        voc.read(tmp_path, Reading())


def test_a_voc_tree_without_labelmap_has_vocs_colours_and_given_classes(tmp_path: Path) -> None:
    voc.write(tmp_path, CLASSES, iter([mask()]), None)
    assert (tmp_path / "labelmap.txt").read_text().splitlines()[1:] == [
        "background:0,0,0::", "cat:128,0,0::", "dog:0,128,0::", "undecided:224,224,192::"
    ]  # fmt: skip
    assert (tmp_path / "ImageSets" / "Segmentation" / "default.txt").read_text() == "sub/a b\n"
    (tmp_path / "labelmap.txt").unlink()
    with pytest.raises(InputError, match="--classes"):
        voc.read(tmp_path, Reading())
    (found,) = voc.read(tmp_path, Reading(classes=CLASSES)).masks
    np.testing.assert_array_equal(found.label, LABEL)
    for name in ("a:b", "#a"):
        with pytest.raises(InputError, match="labelmap"):
            voc.write(tmp_path, (name,), iter([]), None)


# Label Studio


def test_tasks_are_as_label_studio_imports_them(tmp_path: Path) -> None:
    brush = pytest.importorskip("label_studio_converter.brush", reason="comes with the extra dev")
    file = tmp_path / "my photos" / "sub" / "a b.jpg"
    sure = mask(confidences={"cat": 0.75, "dog": 0.5}, file=file)
    label_studio.write(tmp_path, CLASSES, iter([sure, mask()]), None)
    task, plain = json.loads((tmp_path / "tasks.json").read_text())
    assert task["data"]["image"] == "/data/local-files/?d=my%20photos/sub/a%20b.jpg"
    assert plain["data"]["image"] == "/data/local-files/?d=sub/a%20b.jpg"
    (prediction,) = task["predictions"]
    assert prediction["score"] == 0.5
    assert [result.get("score") for result in prediction["result"]] == [0.75, 0.5, None]
    assert "score" not in plain["predictions"][0]
    interface = ET.parse(tmp_path / "label-config.xml").getroot()
    (image,), (labels,) = interface.iter("Image"), interface.iter("BrushLabels")
    assert [label.attrib["value"] for label in labels] == ["cat", "dog", "undecided"]
    for result, value in zip(prediction["result"], (1, 2, UNDECIDED)):
        assert result["from_name"] == labels.attrib["name"]
        assert result["to_name"] == image.attrib["name"] == labels.attrib["toName"]
        assert image.attrib["value"].lstrip("$") in task["data"]
        assert (result["original_height"], result["original_width"], result["image_rotation"]) == (4, 6, 0)
        alpha = brush.decode_rle(result["value"]["rle"]).reshape(4, 6, 4)[..., 3]
        np.testing.assert_array_equal(alpha > 0, value == LABEL)
    assert len({result["id"] for each in (task, plain) for result in each["predictions"][0]["result"]}) == 6
    label_studio.write(tmp_path, CLASSES, iter([sure]), "https://x/?")
    assert json.loads((tmp_path / "tasks.json").read_text())[0]["data"]["image"] == "https://x/?sub/a%20b.jpg"


def brushed(flags: np.ndarray, name: str) -> dict:
    from label_studio_converter.brush import mask2rle

    return {"type": "brushlabels", "original_height": flags.shape[0], "original_width": flags.shape[1],
            "value": {"rle": mask2rle(flags.astype(np.uint8) * 255), "brushlabels": [name]}}  # fmt: skip


def test_of_an_export_the_newest_annotation_counts_and_predictions_where_there_is_none(
    tmp_path: Path,
) -> None:
    pytest.importorskip("label_studio_converter.brush", reason="comes with the extra dev")
    left, right = np.array([[True, True, False]]), np.array([[False, True, True]])
    polygon = {"type": "polygonlabels", "original_height": 2, "original_width": 4,
               "value": {"points": [[25, 0], [75, 0], [75, 50], [25, 50]], "polygonlabels": ["cat"]}}  # fmt: skip
    tasks = [
        {"data": {"image": "/data/local-files/?d=in/a%20b.jpg"}, "predictions": [{"result": [brushed(left, "dog")]}],
         "annotations": [{"result": [brushed(left, "cat"), brushed(right, "dog")], "updated_at": "2026-02-02"},
                         {"result": [brushed(right, "cat")], "updated_at": "2026-01-01"},
                         {"result": [], "updated_at": "2026-03-03", "was_cancelled": True}]},
        {"data": {"pic": "https://host/up/load/c.png?x=1"}, "annotations": [],
         "predictions": [{"result": [brushed(right, "dog"), {"type": "choices", "value": {}}]}]},
        {"data": {"image": "d.jpg"}, "annotations": [{"result": [polygon]}]},
        {"data": {"image": "e.jpg"}, "annotations": [{"result": []}]},
    ]  # fmt: skip
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    source = label_studio.read(tmp_path / "export.json", Reading(size=lambda name: (1, 2)))
    found = list(source.masks)
    assert source.classes == ("cat", "dog")
    assert [mask.photo for mask in found] == ["in/a b.jpg", "up/load/c.png", "d.jpg", "e.jpg"]
    assert [mask.label.tolist() for mask in found] == [
        [[1, 2, 2]], [[0, 2, 2]], [[0, 1, 1, 0], [0, 0, 0, 0]], [[0, 0]]
    ]  # fmt: skip
    assert source.lost == {"results of the kind choices": 1}
    with pytest.raises(InputError, match=r"no mask of e\.jpg .*--photos"):
        list(label_studio.read(tmp_path / "export.json", Reading()).masks)


# LabelMe


def test_labelme_files_say_where_the_photo_lies(tmp_path: Path) -> None:
    photo = tmp_path / "photos" / "sub" / "a b.jpg"
    labelme.write(tmp_path / "out", CLASSES, iter([mask(file=photo)]), None)
    content = json.loads((tmp_path / "out" / "sub" / "a b.json").read_text())
    assert content["imagePath"] == "../../photos/sub/a b.jpg"
    assert content["imageData"] is None
    assert (content["imageHeight"], content["imageWidth"]) == (4, 6)
    assert [shape["label"] for shape in content["shapes"]] == ["cat", "cat", "dog", "dog", "__ignore__"]
    assert {shape["shape_type"] for shape in content["shapes"]} == {"polygon"}
    assert content["shapes"][1]["points"] == [[5, 3], [6, 3], [6, 4], [5, 4]]
    assert (tmp_path / "out" / "labels.txt").read_text().split() == [
        "__ignore__",
        "_background_",
        "cat",
        "dog",
    ]
    labelme.write(tmp_path / "out", CLASSES, iter([mask(file=photo)]), "p/")
    assert json.loads((tmp_path / "out" / "sub" / "a b.json").read_text())["imagePath"] == "p/sub/a b.jpg"


def test_masks_and_rectangles_of_labelme(tmp_path: Path) -> None:
    encoded = io.BytesIO()
    Image.fromarray(np.array([[1, 0], [1, 1]], np.uint8)).save(encoded, "PNG")
    shapes = [
        {"label": "dog", "shape_type": "rectangle", "points": [[3, 2], [1, 0]]},
        {"label": "cat", "shape_type": "mask", "points": [[0, 1], [1, 2]],
         "mask": base64.b64encode(encoded.getvalue()).decode()},
        {"label": "cat", "shape_type": "point", "points": [[0, 1]]},
        {"label": "_background_", "shape_type": "polygon", "points": [[2, 0], [3, 0], [3, 1], [2, 1]]},
    ]  # fmt: skip
    content = {"imagePath": "..\\p\\a.jpg", "imageHeight": 3, "imageWidth": 4, "shapes": shapes}
    (tmp_path / "a.json").write_text(json.dumps(content))
    source = labelme.read(tmp_path, Reading())
    (found,) = source.masks
    assert found.label.tolist() == [[0, 2, 0, 0], [1, 2, 2, 0], [1, 1, 0, 0]]
    assert (found.photo, source.lost) == ("a.jpg", {"shapes of the kind point": 1})
    shapes[1]["points"] = [[3, 1], [4, 2]]
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"a\.json: a shape .*beyond"):
        list(labelme.read(tmp_path, Reading()).masks)


# YOLO


def test_yolo_lines_are_shares_of_width_and_height_and_indices_from_zero(tmp_path: Path) -> None:
    label = np.zeros((4, 8), np.uint16)
    label[1:3, 2:6] = 2
    yolo.write(tmp_path, CLASSES, iter([mask(label)]), None)
    (line,) = (tmp_path / "labels" / "sub" / "a b.txt").read_text().splitlines()
    index, *shares = line.split()
    assert index == "1"
    corners = np.array(shares, float).reshape(-1, 2)
    assert sorted(map(tuple, corners)) == [(0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)]
    assert "names:\n  0: cat\n  1: dog\n" in (tmp_path / "data.yaml").read_text()


@pytest.mark.parametrize("size", [(97, 1013), (2, 65535)])
def test_corners_of_yolo_are_exact_on_photos_of_awkward_sizes(size: tuple[int, int], tmp_path: Path) -> None:
    label = (np.random.default_rng(0).random(size) < 0.5).astype(np.uint16)
    yolo.write(tmp_path, CLASSES, iter([mask(label)]), None)
    (found,) = yolo.read(tmp_path, Reading(size=lambda name: label.shape)).masks
    np.testing.assert_array_equal(found.label, label)


def test_yolo_of_others(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1 0 0 0.5 0 0.5 1 0 1\n\n0 0.5 0.5 1 1\n")
    reading = Reading(classes=CLASSES, size=lambda name: (2, 4))
    source = yolo.read(tmp_path, reading)
    assert [mask.label.tolist() for mask in source.masks] == [[[2, 2, 0, 0]] * 2]
    assert source.lost == {"boxes": 1}
    (tmp_path / "data.yaml").write_text("names: [x, y]\n")
    assert yolo.read(tmp_path, Reading(size=lambda name: (2, 4))).classes == ("x", "y")
    (tmp_path / "data.yaml").unlink()
    for content, said in (
        ("2 0 0 1 0 1 1", "line 1.*class 2 of 2"),
        ("0 0 0 1 0 1", "line 1"),
        ("x 0 0 1 0 1 1", "line 1"),
    ):
        (tmp_path / "a.txt").write_text(content)
        with pytest.raises(InputError, match=said):
            list(yolo.read(tmp_path, reading).masks)
    with pytest.raises(InputError, match="--classes"):
        yolo.read(tmp_path, Reading(size=lambda name: (2, 4)))
    with pytest.raises(InputError, match="--photos"):
        yolo.read(tmp_path, Reading(classes=CLASSES))
