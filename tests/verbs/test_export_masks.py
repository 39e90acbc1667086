"""`label --to` and `predict --to`: the masks beside, in another tool's format, those of this call and no others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import getam
from getam.data.confidences import confidences, read_confidences
from getam.data.masks import read_mask
from getam.data.photos import as_tensor, read_photo
from getam.engine.model import load_segmenter
from getam.errors import InputError, SkippedError
from getam.nets.inference import photo_logits


def test_confidence_is_the_mean_probability_of_a_class_over_its_pixels() -> None:
    beliefs = torch.rand(4, 5, 6, dtype=torch.float64).softmax(0)
    winner = torch.randint(3, (5, 6))  # the last class has no pixel
    found = confidences(beliefs, winner, ["a", "b", "c"])
    sums: dict[int, list[float]] = {1: [], 2: []}
    for row in range(5):
        for column in range(6):
            if number := winner[row, column].item():
                sums[int(number)].append(beliefs[int(number), row, column].item())
    assert found == pytest.approx({name: sum(sums[n]) / len(sums[n]) for n, name in ((1, "a"), (2, "b"))})
    assert confidences(torch.eye(3)[0].reshape(3, 1, 1), torch.zeros(1, 1), ["a", "b"]) == {}


def test_confidences_are_the_networks_own_before_the_crf(trained: Path, scenes: Path, tmp_path: Path) -> None:
    file = scenes / "photos" / "scene0.png"
    net = load_segmenter(trained, device=torch.device("cpu"))
    photo = as_tensor(read_photo(file))
    logits = photo_logits(net, photo, (320,))
    for crf in (False, True):
        getam.predict(file, model=trained, out=tmp_path / str(crf), crf=crf)
        label = torch.from_numpy(read_mask(tmp_path / str(crf) / "scene0.png")).long()
        expected = confidences(logits.softmax(0), label, net.classes)
        assert read_confidences(tmp_path / str(crf) / "scene0.png") == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("crf", [False, True])
def test_predict_writes_tasks_with_its_confidences(
    crf: bool, trained: Path, scenes: Path, tmp_path: Path
) -> None:
    photos, out = tmp_path / "my photos", tmp_path / "masks"
    photos.mkdir()
    for index in range(2):
        shutil.copy(scenes / "photos" / f"scene{index}.png", photos)
    getam.predict(photos, model=trained, out=out, crf=crf, to="label-studio")
    tasks = json.loads((tmp_path / "masks-label-studio" / "tasks.json").read_text())
    assert [task["data"]["image"] for task in tasks] == [
        f"/data/local-files/?d=my%20photos/scene{index}.png" for index in range(2)
    ]
    for index, task in enumerate(tasks):
        known = read_confidences(out / f"scene{index}.png")
        present = np.unique(read_mask(out / f"scene{index}.png"))
        results = task["predictions"][0]["result"]
        assert len(results) == (present > 0).sum()
        assert {r["value"]["brushlabels"][0]: r["score"] for r in results} == known
    getam.convert(tmp_path / "masks-label-studio", from_="label-studio", out=tmp_path / "back", photos=photos)
    for index in range(2):
        again = read_mask(tmp_path / "back" / f"scene{index}.png")
        np.testing.assert_array_equal(again, read_mask(out / f"scene{index}.png"))


def test_label_writes_its_masks(trained: Path, scenes: Path, tmp_path: Path) -> None:
    getam.label(
        data=scenes / "photos",
        tags=scenes / "tags.csv",
        model=trained,
        out=tmp_path / "l",
        to="coco",
        scales=(32,),
    )
    getam.convert(tmp_path / "l-coco", from_="coco", out=tmp_path / "back")
    masks = sorted((tmp_path / "l").glob("*.png"))
    assert len(masks) == 6
    for mask in masks:
        np.testing.assert_array_equal(read_mask(tmp_path / "back" / mask.name), read_mask(mask))


def test_masks_of_other_calls_and_skipped_photos_are_not_exported(
    trained: Path, scenes: Path, tmp_path: Path
) -> None:
    out, photos = tmp_path / "masks", tmp_path / "photos"
    getam.predict(scenes / "photos" / "scene0.png", model=trained, out=out, crf=False)
    photos.mkdir()
    shutil.copy(scenes / "photos" / "scene1.png", photos)
    (photos / "bad.png").write_bytes(b"no photo")
    with pytest.raises(SkippedError):
        getam.predict(photos, model=trained, out=out, crf=False, to="coco", on_bad_image="skip")
    content = json.loads((tmp_path / "masks-coco" / "annotations.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["scene1.png"]
    Image.new("RGB", (48, 40)).save(
        photos / "bad.png"
    )  # mended: the same call goes on, and the file is complete
    getam.predict(photos, model=trained, out=out, crf=False, to="coco", on_bad_image="skip")
    content = json.loads((tmp_path / "masks-coco" / "annotations.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["bad.png", "scene1.png"]


def test_mistakes_are_found_before_the_work(trained: Path, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "masks"
    photo = scenes / "photos" / "scene0.png"
    (tmp_path / "masks-coco").mkdir()
    (tmp_path / "masks-coco" / "annotations.json").write_text("mine")
    for to, said in (("png", "png already"), ("pdf", "no format"), ("coco", "annotations.json exists")):
        with pytest.raises(InputError, match=said):
            getam.predict(photo, model=trained, out=out, to=to)
        with pytest.raises(InputError, match=said):
            getam.label(data=scenes / "photos", tags=scenes / "tags.csv", model=trained, out=out, to=to)
    assert not list(out.glob("*.png"))
    getam.predict(photo, model=trained, out=out, to="coco", crf=False, overwrite=True)
    assert "scene0.png" in (tmp_path / "masks-coco" / "annotations.json").read_text()
