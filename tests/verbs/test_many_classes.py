"""1, 300 and 1,000 classes from tags to scores: masks of more than 254 classes have 16 bits, and no label is lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import getam
from getam.data.collection import load_collection
from getam.data.masks import read_mask, write_classes, write_mask
from getam.data.tag_dataset import TagDataset

SIZE = (40, 48)


def names(count: int) -> tuple[str, ...]:
    return tuple(f"class {number:04}" for number in range(1, count + 1))


def collection(folder: Path, count: int, photos: int = 5) -> Path:
    """Photos of noise that share `count` classes out among them, their tags and true masks."""
    random = np.random.default_rng(0)
    (folder / "photos").mkdir(parents=True)
    write_classes(folder / "truth", names(count))
    lines = ["image,tags"]
    for index in range(photos):
        pixels = random.integers(0, 255, (*SIZE, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{index}.png")
        own = np.arange(index % count + 1, count + 1, photos) if count > 1 else np.array([1])
        label = np.zeros(SIZE, np.uint16 if count > 254 else np.uint8)
        label[5:35] = own[np.arange(30 * 48).reshape(30, 48) // 8 % len(own)]
        label[35:] = np.iinfo(label.dtype).max
        write_mask(folder / "truth" / f"{index}.png", label)
        lines.append(f"{index}.png,{';'.join(names(count)[number - 1] for number in own)}")
    (folder / "tags.csv").write_text("\n".join(lines) + "\n")
    return folder


SMALL = {"backbone": "small-hybrid", "size": 32, "batch_size": 2, "steps": 2, "saliency": None}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = collection(tmp_path_factory.mktemp("many") / "300", 300)
    options = ("joint_from=0.5", "pamr_iterations=1", "crf_iterations=1")
    getam.train(
        data=folder / "photos", tags=folder / "tags.csv", out=folder / "run", options=options, **SMALL
    )
    return folder


def test_getam_trains_labels_predicts_and_evaluates_300_classes(many: Path, tmp_path: Path) -> None:
    assert {"cls", "fg", "bg", "dense"} <= json.loads((many / "run" / "metrics.jsonl").read_text()).keys()
    (tmp_path / "one.csv").write_text("image,tags\n0.png,class 0290\n1.png,\n")
    labels = getam.label(
        data=many / "photos", tags=tmp_path / "one.csv", model=many / "run", out=tmp_path / "labels",
        labels="threshold", refine=("none",), scales=(32,), to="cvat",
    )  # fmt: skip
    found = read_mask(labels / "0.png")
    assert found.dtype == np.uint16
    assert {290} <= set(np.unique(found)) <= {0, 290, 65535}
    assert not read_mask(labels / "1.png").any()
    assert 'label="class 0290"' in (tmp_path / "labels-cvat" / "annotations.xml").read_text()

    masks = getam.predict(
        many / "photos", model=many / "run", out=tmp_path / "masks", scales=(32,), crf=False
    )
    assert {read_mask(file).dtype for file in masks.glob("*.png")} == {np.dtype(np.uint16)}
    assert getam.evaluate(masks, many / "truth").protocol.photos == 5
    assert (masks / "first-look.html").is_file()


def test_masks_of_300_classes_arrive_exactly(many: Path, tmp_path: Path) -> None:
    truth = many / "truth"
    label = read_mask(truth / "4.png")
    assert 290 in label
    perfect = getam.evaluate(truth, truth)
    assert perfect.miou == 1
    assert len(perfect.iou) == 301
    for index in range(5):
        write_mask(tmp_path / "masks" / f"{index}.png", read_mask(truth / f"{index}.png"))
    write_classes(tmp_path / "masks", names(300))
    write_mask(tmp_path / "masks" / "4.png", np.where(label == 290, 255, label).astype(np.uint16))
    worse = getam.evaluate(tmp_path / "masks", truth)
    assert worse.iou["class 0290"] == 0
    assert worse.iou["class 0289"] == 1
    share = 1 / (
        1 + (label == 290).sum() / sum((read_mask(truth / f"{n}.png") == 255).sum() for n in range(5))
    )
    assert worse.iou["class 0255"] == pytest.approx(share)


def test_masks_of_300_classes_reach_the_batches_exactly(many: Path) -> None:
    collection = load_collection(many / "photos", many / "tags.csv", masks=many / "truth")
    data = TagDataset(collection, 32, with_masks=True, zoom=(0.5, 1.5))
    seen: set[int] = set()
    for epoch in range(4):
        data.set_epoch(epoch)
        for index, sample in enumerate(collection.samples):
            item = data[index]
            shown = set(item["mask"].unique().tolist()) - {0, 65535}
            assert shown <= {collection.classes.index(tag) + 1 for tag in sample.tags}
            assert (item["mask"][~item["roi"]] == 65535).all()
            seen |= shown
    assert {255, 290, 300} <= seen


@pytest.mark.parametrize("recipe", ["supervised", "self-training"])
def test_masks_of_300_classes_are_trained_on(many: Path, recipe: str, tmp_path: Path) -> None:
    voc = tmp_path / "voc"
    shutil.copytree(many / "photos", voc / "JPEGImages")
    shutil.copytree(many / "truth", voc / "SegmentationClass")
    (voc / "ImageSets" / "Segmentation").mkdir(parents=True)
    getam.train(
        data=voc, tags=many / "tags.csv", out=tmp_path / "run", recipe=recipe, **SMALL,
        options=("class_mix=1",) if recipe == "supervised" else
        ("joint_from=1", "label_scales=[32]", "label_crf=0", "round_steps=1"),
    )  # fmt: skip
    entries = [json.loads(line) for line in next(tmp_path.rglob("metrics.jsonl")).read_text().splitlines()]
    assert all(np.isfinite(value) for value in entries[0].values() if isinstance(value, float))
    if recipe == "self-training":
        labels = read_mask(tmp_path / "run" / "2-labels" / "0.png")
        assert labels.dtype == np.uint16


def test_one_class(tmp_path: Path) -> None:
    folder = collection(tmp_path / "one", 1)
    given = {"data": folder / "photos", "tags": folder / "tags.csv"}
    getam.train(**given, out=folder / "run", options=("joint_from=0",), **SMALL)
    labels = getam.label(**given, saliency=None, model=folder / "run", out=tmp_path / "labels", scales=(32,))
    masks = getam.predict(folder / "photos", model=folder / "run", out=tmp_path / "masks", scales=(32,))
    for made in (labels, masks):
        assert Image.open(made / "0.png").mode == "P"
        assert list(getam.evaluate(made, folder / "truth").iou) == ["background", "class 0001"]


def test_a_thousand_classes_are_labelled_and_evaluated(tmp_path: Path) -> None:
    folder = collection(tmp_path / "thousand", 1000)
    getam.train(
        data=folder / "photos",
        tags=folder / "tags.csv",
        out=folder / "run",
        options=("joint_from=1",),
        **SMALL,
    )
    (tmp_path / "few.csv").write_text("image,tags\n0.png,class 0999;class 0255\n")
    out = getam.label(
        data=folder / "photos", tags=tmp_path / "few.csv", model=folder / "run", out=tmp_path / "labels",
        labels="threshold", refine=("none",), scales=(32,),
    )  # fmt: skip
    assert {255, 999} <= set(np.unique(read_mask(out / "0.png"))) <= {0, 255, 999, 65535}
    assert getam.evaluate(folder / "truth", folder / "truth").miou == 1
