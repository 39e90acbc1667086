"""A miniature export of every tool, written as the tool writes it: the same photos and tags come out of each."""

import json
from pathlib import Path

import pytest
from PIL import Image

from getam.data.collection import load_collection
from getam.data.formats.registry import FORMATS, read_tags
from getam.errors import InputError

Tree = dict[str, object]


def grow(folder: Path, tree: Tree) -> Path:
    """Files from a tree: text as it is, None a photo, anything else as JSON."""
    for name, content in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            Image.new("RGB", (8, 6), (100, 150, 200)).save(path)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def voc_xml(filename: str, *objects: tuple[str, int]) -> str:
    """As VOC 2012's Annotations."""
    inside = "".join(
        f"<object><name>{name}</name><pose>Unspecified</pose><truncated>0</truncated><difficult>{difficult}</difficult>"
        "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></object>"
        for name, difficult in objects
    )
    return (
        f"<annotation><folder>VOC2012</folder><filename>{filename}</filename><size><width>8</width><height>6</height>"
        f"<depth>3</depth></size><segmented>0</segmented>{inside}</annotation>"
    )


def coco(**changes: object) -> dict[str, object]:
    return {
        "info": {"year": 2024, "version": "1.0"}, "licenses": [],
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": 8, "height": 6},
            {"id": 9, "file_name": "b.jpg", "width": 8, "height": 6},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 18, "bbox": [1, 1, 3, 3], "area": 9, "iscrowd": 0,
             "segmentation": [[1, 1, 4, 1, 4, 4]]},
            {"id": 2, "image_id": 7, "category_id": 17, "bbox": [1, 1, 3, 3], "area": 9, "iscrowd": 1,
             "segmentation": {"counts": [0, 48], "size": [6, 8]}},
        ],
        "categories": [
            {"id": 17, "name": "cat", "supercategory": "animal"}, {"id": 18, "name": "dog", "supercategory": "animal"},
            {"id": 90, "name": "toothbrush", "supercategory": "indoor"},
        ],
        **changes,
    }  # fmt: skip


def task(number: int, image: str, *choices: str, kind: str = "choices", **more: object) -> dict[str, object]:
    """As Label Studio's JSON export."""
    answer = {
        "id": "x1", "type": kind, "from_name": "choice", "to_name": "image", "origin": "manual",
        "value": {kind: list(choices)},
    }  # fmt: skip
    done = {
        "id": number,
        "completed_by": 1,
        "result": [answer],
        "was_cancelled": False,
        "ground_truth": False,
        **more,
    }
    return {"id": number, "annotations": [done], "predictions": [], "data": {"image": image}, "project": 3}


def cvat(*images: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta><task><id>4</id>'
        "<labels><label><name>cat</name></label></labels></task></meta>\n"
        + "\n".join(images)
        + "\n</annotations>\n"
    )


CVAT = cvat(
    '  <image id="0" name="a.jpg" width="8" height="6"><tag label="cat" source="manual"/>'
    '<box label="dog" source="manual" occluded="0" xtl="1" ytl="1" xbr="4" ybr="4" z_order="0"/></image>',
    '  <image id="1" name="b.jpg" width="8" height="6"></image>',
)
SAMPLES = {
    "samples": [
        {"_id": {"$oid": "6"}, "filepath": "data/a.jpg", "tags": ["validation"], "_media_type": "image",
         "ground_truth": {"_cls": "Classifications", "logits": None, "classifications": [
             {"_cls": "Classification", "tags": [], "label": "cat", "confidence": None},
             {"_cls": "Classification", "tags": [], "label": "dog", "confidence": None}]}},
        {"_id": {"$oid": "7"}, "filepath": "data/b.jpg", "tags": [], "_media_type": "image",
         "ground_truth": {"_cls": "Detections", "detections": []}},
    ]
}  # fmt: skip

EXPORTS: dict[str, tuple[Tree, str, str]] = {
    "coco": ({"a.jpg": None, "b.jpg": None, "anno/instances.json": coco()}, "anno/instances.json", "COCO"),
    "coco beside": ({"set/images/a.jpg": None, "set/images/b.jpg": None, "set/x.json": coco()}, "set/x.json", "COCO"),
    "roboflow coco": ({"a.jpg": None, "b.jpg": None, "_annotations.coco.json": coco()}, "", "COCO"),
    "voc xml": (
        {
            "JPEGImages/a.jpg": None, "JPEGImages/b.jpg": None,
            "Annotations/a.xml": voc_xml("a.jpg", ("cat", 0), ("dog", 1), ("dog", 0)),
            "Annotations/b.xml": voc_xml("b.jpg"),
        },
        "", "VOC XML",
    ),
    "labelimg": (
        {"a.jpg": None, "b.jpg": None, "a.xml": voc_xml("a.jpg", ("cat", 0), ("dog", 0)), "b.xml": voc_xml("b.jpg")},
        ".", "VOC XML",
    ),
    "voc image sets": (
        {
            "JPEGImages/a.jpg": None, "JPEGImages/b.jpg": None, "ImageSets/Main/trainval.txt": "a\nb\n",
            "ImageSets/Main/cat_train.txt": "a -1\n", "ImageSets/Main/cat_trainval.txt": "a  1\nb -1\n",
            "ImageSets/Main/dog_trainval.txt": "a  1\nb -1\n",
        },
        "", "VOC image sets",
    ),
    "label studio": (
        {"a.jpg": None, "b.jpg": None,
         "project-3.json": [
             task(1, "/data/upload/3/1a2b3c4d-a.jpg", "cat", "dog"), task(2, "/data/local-files/?d=b.jpg")]},
        "project-3.json", "Label Studio",
    ),
    "label studio, brushes": (
        {"a.jpg": None, "b.jpg": None,
         "p.json": [task(1, "s3://bucket/farm/a.jpg", "cat", "dog", kind="brushlabels"), task(2, "b.jpg")]},
        "p.json", "Label Studio",
    ),
    "label studio, JSON-MIN": (
        {"a.jpg": None, "b.jpg": None, "p.json": [
            {"image": "/data/upload/3/1a2b3c4d-a.jpg", "id": 1, "choice": {"choices": ["cat", "dog"]}, "annotator": 1,
             "annotation_id": 1, "created_at": "2024-05-01", "updated_at": "2024-05-01", "lead_time": 2.9},
            {"image": "/data/upload/3/5e6f7a8b-b.jpg", "id": 2, "annotator": 1, "annotation_id": 2, "lead_time": 1.0}]},
        "p.json", "Label Studio, JSON-MIN",
    ),
    "cvat": ({"images/a.jpg": None, "images/b.jpg": None, "annotations.xml": CVAT}, "", "CVAT"),
    "cvat elsewhere": ({"p/a.jpg": None, "p/b.jpg": None, "annotations.xml": CVAT}, "annotations.xml", "CVAT"),
    "fiftyone": ({"data/a.jpg": None, "data/b.jpg": None, "samples.json": SAMPLES}, "", "FiftyOne"),
    "fiftyone folder": ({"x/data/a.jpg": None, "x/data/b.jpg": None, "x/samples.json": SAMPLES}, "x", "FiftyOne"),
    "fiftyone classification": (
        {"data/a.jpg": None, "data/b.jpg": None,
         "labels.json": {"classes": ["dog", "cat"], "labels": {"a": [1, 0], "b": []}}}, "", "FiftyOne",
    ),
    "fiftyone detection": (
        {"data/a.jpg": None, "data/b.jpg": None, "labels.json": {"classes": ["dog", "cat"], "labels": {
            "a": [{"label": 1, "bounding_box": [0, 0, 1, 1]}, {"label": 0, "bounding_box": [0, 0, 1, 1]}], "b": []}}},
        "", "FiftyOne",
    ),
    "json": (
        {"a.jpg": None, "b.jpg": None, "tags.json": [
            {"image": "a.jpg", "tags": ["cat", "dog"]}, {"file": "b.jpg", "tags": []}]},
        "", "JSON",
    ),
    "json object": ({"a.jpg": None, "b.jpg": None, "t.json": {"a.jpg": ["cat", "dog"], "b.jpg": []}}, "t.json", "JSON"),
    "json lines": (
        {"a.jpg": None, "b.jpg": None,
         "tags.jsonl": '{"file_name": "a.jpg", "labels": {"cat": 1, "dog": true}}\n\n{"file": "b", "tags": ""}\n'},
        "", "JSON lines",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPORTS)
def test_the_same_photos_and_tags_come_out_of_each(name: str, tmp_path: Path) -> None:
    tree, tags, words = EXPORTS[name]
    data = grow(tmp_path, tree)
    photos = data / "p" if (data / "p").is_dir() else data
    collection = load_collection(photos, data / tags if tags else None)
    found = {
        sample.photo.stem: (sample.tags, sample.unknown, sample.photo.is_file())
        for sample in collection.samples
    }
    assert found == {"a": (("cat", "dog"), (), True), "b": ((), (), True)}
    [note] = collection.notes
    assert words in note
    assert "2 photos, 2 classes" in note


def test_each_may_be_named(tmp_path: Path) -> None:
    data = grow(
        tmp_path, {"a.jpg": None, "b.jpg": None, "_annotations.coco.json": coco(), "tags.csv": "image,tags\n"}
    )
    assert load_collection(data, format="coco").classes == ("cat", "dog")
    with pytest.raises(
        InputError, match=r"no format of tags 'cocoa': choose one of webdataset, coco, label-studio"
    ):
        load_collection(data, format="cocoa")
    assert set(FORMATS) >= {"csv", "json", "voc-xml", "voc-imagesets", "cvat", "fiftyone", "folders", "names"}


def test_two_exports_side_by_side_are_not_guessed_among(tmp_path: Path) -> None:
    data = grow(tmp_path, {"a.jpg": None, "_annotations.coco.json": coco(), "samples.json": SAMPLES})
    with pytest.raises(InputError, match=r"_annotations\.coco\.json and samples\.json: say which .* --tags"):
        load_collection(data)


# A folder a class


def test_a_folder_a_class(tmp_path: Path) -> None:
    data = grow(tmp_path, {"cat/1.jpg": None, "dog/1.jpg": None, "dog/more/2.jpg": None, "none/3.jpg": None})
    collection = load_collection(data)
    assert {sample.name: sample.tags for sample in collection.samples} == {
        "cat/1": ("cat",), "dog/1": ("dog",), "dog/more/2": ("dog",), "none/3": (),
    }  # fmt: skip
    assert collection.notes == (f"{tmp_path.name}: a folder a class, 4 photos, 2 classes",)
    assert load_collection(tmp_path.parent, tmp_path).classes == ("cat", "dog")
    (data / "dog" / "9.nef").touch()
    (note,) = load_collection(data).notes
    where = data / "dog" / "9.nef"
    assert note.endswith(
        f"; 1 photo is left out, as nothing here reads .nef ({where}): convert to JPEG or PNG"
    )


@pytest.mark.parametrize(
    "tree",
    [
        {"images/1.jpg": None, "cat/1.jpg": None}, {"cat/1.jpg": None},
        {"cat/1.jpg": None, "dog/1.jpg": None, "3.jpg": None},
        {"train/cat/1.jpg": None, "val/cat/1.jpg": None},
    ],
)  # fmt: skip
def test_other_folders_are_no_classes_unless_they_are_named_so(tree: Tree, tmp_path: Path) -> None:
    data = grow(tmp_path, tree)
    with pytest.raises(InputError, match=r"tags\.csv does not exist"):
        load_collection(data)
    if "3.jpg" in tree:
        with pytest.raises(InputError, match=r"3\.jpg lies beside the folders of the classes"):
            load_collection(data, format="folders")
    else:
        assert load_collection(data, format="folders").samples


# File names


def test_tags_in_file_names(tmp_path: Path) -> None:
    data = grow(tmp_path, {"cat+dog_01.jpg": None, "cat_02_x.JPG": None, "_3.png": None})
    collection = load_collection(data, format="names:{tags}_*")
    assert {sample.name: sample.tags for sample in collection.samples} == {
        "cat+dog_01": ("cat", "dog"), "cat_02_x": ("cat",), "_3": (),
    }  # fmt: skip
    (data / "cat_9.nef").touch()
    assert (
        "1 photo is left out, as nothing here reads .nef"
        in load_collection(data, format="names:{tags}_*").notes[0]
    )
    grow(tmp_path, {"dog.jpg": None})
    with pytest.raises(InputError, match=r"dog\.jpg does not fit the pattern '\{tags\}_\*'"):
        load_collection(data, format="names:{tags}_*")
    for pattern in ("names", "names:*_*", "names:{tags}{tags}"):
        with pytest.raises(InputError, match=r"must have \{tags\} once"):
            load_collection(data, format=pattern)


# Unknown is not absent


def unknown(path: Path) -> dict[str, tuple[str, ...]]:
    return {row.image: row.unknown for row in read_tags(path).rows}


def test_coco_that_is_not_exhaustive(tmp_path: Path) -> None:
    lvis = coco(
        images=[
            {"id": 7, "coco_url": "http://images.cocodataset.org/val2017/a.jpg", "neg_category_ids": [],
             "not_exhaustive_category_ids": [18]},
            {"id": 9, "coco_url": "http://images.cocodataset.org/val2017/b.jpg", "neg_category_ids": [17],
             "not_exhaustive_category_ids": []},
        ]
    )  # fmt: skip
    grow(tmp_path, {"lvis.json": lvis})
    assert unknown(tmp_path / "lvis.json") == {"a.jpg": (), "b.jpg": ("dog",)}
    ours = coco()
    ours["images"][1]["not_exhaustive_category_ids"] = [17]  # type: ignore[index]
    grow(tmp_path, {"ours.json": ours})
    assert unknown(tmp_path / "ours.json") == {"a.jpg": (), "b.jpg": ("cat",)}


def test_coco_without_a_single_annotation(tmp_path: Path) -> None:
    grow(tmp_path, {"coco.json": coco(annotations=None)})
    with pytest.raises(InputError) as caught:  # of the tags, which nobody has, and not of the file
        read_tags(tmp_path / "coco.json", format="coco")
    assert '"annotations"' not in str(caught.value)
    content = coco()
    del content["annotations"]
    grow(tmp_path, {"none.json": content})
    with pytest.raises(InputError, match='"annotations" is no list'):
        read_tags(tmp_path / "none.json", format="coco")


def test_difficult_objects_of_voc(tmp_path: Path) -> None:
    grow(
        tmp_path,
        {"x/a.xml": voc_xml("a.jpg", ("cat", 1), ("dog", 0)), "x/b.xml": voc_xml("b.jpg", ("cat", 0))},
    )
    assert unknown(tmp_path / "x") == {"a.jpg": ("cat",), "b.jpg": ()}
    grow(
        tmp_path,
        {"Main/cat_train.txt": "a 0\nb 1\n", "Main/cat_val.txt": "c -1\n", "Main/dog_val.txt": "c 1\n"},
    )
    assert unknown(tmp_path / "Main") == {"a": ("cat", "dog"), "b": ("dog",), "c": ()}


def test_label_studio_annotators_and_tasks_that_nobody_did(tmp_path: Path) -> None:
    both = task(1, "a.jpg", "cat", "dog")
    both["annotations"] += task(1, "a.jpg", "cat")["annotations"]  # type: ignore[operator]
    sure = task(2, "b.jpg", "dog")
    sure["annotations"] += task(2, "b.jpg", "cat", ground_truth=True)["annotations"]  # type: ignore[operator]
    skipped = task(3, "c.jpg", "cat", was_cancelled=True)
    grow(tmp_path, {"p.json": [both, sure, skipped]})
    table = read_tags(tmp_path / "p.json")
    assert [(row.image, row.tags, row.unknown) for row in table.rows] == [
        ("a.jpg", ("cat",), ()), ("b.jpg", ("cat",), ()),
    ]  # fmt: skip
    grow(tmp_path, {"p.json": [both, task(2, "b.jpg", "dog"), skipped]})
    table = read_tags(tmp_path / "p.json")
    assert [row.unknown for row in table.rows] == [("dog",), ()]
    assert table.notes[0].endswith("left out: 1 that nobody annotated")


def test_fiftyone_labels_that_are_null(tmp_path: Path) -> None:
    grow(tmp_path, {"labels.json": {"classes": None, "labels": {"a": "cat", "b": None}}})
    table = read_tags(tmp_path / "labels.json")
    assert [row.image for row in table.rows] == ["a"]
    assert table.notes[0].endswith("left out: 1 without a label")


def test_json_states(tmp_path: Path) -> None:
    entries = [
        {"image": "a", "tags": {"cat": 1, "dog": None, "yak": -1}}, {"image": "b", "tags": ["dog"], "unknown": ["cat"]},
        {"image": "c", "tags": {"cat": 0, "dog": 0, "yak": 1}},
    ]  # fmt: skip
    grow(tmp_path, {"t.json": entries})
    assert unknown(tmp_path / "t.json") == {"a": ("dog", "yak"), "b": ("cat",), "c": ()}


# One spelling


def test_names_that_differ_in_case_only_are_one_class(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    path.write_text("image,tags\na,Cow\nb,cow\nc,cow;dog\n")
    table = read_tags(path)
    assert table.classes == ("cow", "dog")
    assert [row.tags for row in table.rows] == [("cow",), ("cow",), ("cow", "dog")]
    assert table.notes == ("tags.csv: Cow is read as cow; name both in --classes to keep them apart",)
    assert read_tags(path, classes=("Cow", "cow")).rows[0].tags == ("Cow",)
    assert read_tags(path, classes=("COW",)).rows[1].tags == ("COW",)
    assert read_tags(path, known=("Dog", "Cow")).classes == ("Cow", "Dog")


# Refusals


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.json", '{"images": [}', r"t\.json, line 1: not valid JSON"),
        ("t.json", '[\n{"image": "a", "tags": ["cat"]},\n', r"line \d: not valid JSON"),
        ("t.jsonl", '{"image": "a", "tags": []}\n{"image": \n', r"line 2: not valid JSON .* one JSON object a line"),
        ("t.json", [{"image": "a", "tags": ["cat"]}, {"tags": []}], r"item 2: the entry names no photo"),
        ("t.json", [{"image": "a"}], r"item 1: the entry has no tags"),
        ("t.json", [{"image": "a", "tags": 3}], r"item 1: '3' is no list of tags"),
        ("t.json", [{"image": "a", "tags": [{}]}], r"item 1: \{\} is no tag"),
        ("t.json", [{"image": "a", "tags": {"cat": 2}}], r"item 1: 'cat' is 2; write 1"),
        ("t.json", [7], r"item 1: '7' is no entry"),
        ("t.json", [], r"names no photo"),
        ("t.json", [{"image": "a", "tags": ["x"]}] * 2, r"item 2: a is already in item 1; list every photo once"),
        ("t.json", coco(categories=[]), r"annotation 1: there is no category 18"),
        ("t.json", coco(images=[]), r"annotation 1: there is no image 7"),
        ("t.json", coco(categories=None), r'"categories" is no list'),
        ("t.json", coco(annotations=[{"id": 1}]), r'annotation 1: has no "image_id"'),
        ("t.json", [{"data": {"x": 1}, "annotations": []}], r"item 1: the task names no photo"),
        ("t.xml", cvat("<image id='0'/>"), r"image 1: it has no name"),
        ("t.xml", cvat("<image name='a.jpg'><box/></image>"), r"image 1 \(a\.jpg\): a <box> has no label"),
        ("t.xml", cvat("<track id='0'/>"), r"tracks of a video"),
        ("t.xml", "<annotation>\n<object>", r"t\.xml, line 2: not valid XML"),
        ("t.xml", "<annotation><object/></annotation>", r"an <object> has no <name>"),
        ("t.xml", "<!DOCTYPE x [<!ENTITY a 'b'>]><annotation/>", r"defines its own XML entities"),
        ("t.json", {"classes": ["cat"], "labels": {"a": 1}}, r"label of 'a': there is no class 1"),
        ("t.json", {"samples": [{"filepath": "a"}, {}]}, r'sample 2: it has no "filepath"'),
        (
            "t.json", {"samples": [{"filepath": "a", "x": {"_cls": "Detections"}, "y": {"_cls": "Detections"}}]},
            r"several fields of labels \(x, y\)",
        ),
        ("Main/cat_train.txt", "a 1\nb maybe\n", r"cat_train\.txt, line 2: 'b maybe' is not a photo's id"),
    ],
)  # fmt: skip
def test_refusals_name_file_and_place(name: str, content: object, message: str, tmp_path: Path) -> None:
    path = grow(tmp_path, {name: content}) / name
    with pytest.raises(InputError, match=message) as caught:
        read_tags(path if path.suffix != ".txt" else path.parent)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_photo_that_is_not_there_is_named_with_its_place(tmp_path: Path) -> None:
    data = grow(
        tmp_path, {"a.jpg": None, "t.json": [{"image": "a", "tags": ["x"]}, {"image": "b", "tags": []}]}
    )
    with pytest.raises(InputError, match=r"t\.json, item 2: photo b is not in"):
        load_collection(data, data / "t.json")
