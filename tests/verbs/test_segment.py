"""`getam.segment`: the masks that `getam predict` writes, of photos at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import getam
import tiny
from getam.data.confidences import read_confidences
from getam.data.masks import read_mask
from getam.errors import InputError
from getam.report.segmentation import Segmentation


@pytest.fixture
def files(scenes: Path, tmp_path: Path) -> list[Path]:
    """A lying and an upright photo."""
    (tmp_path / "photos").mkdir()
    for name, size in (("lying", (48, 40)), ("upright", (24, 64))):
        with Image.open(scenes / "photos" / "scene2.png") as image:
            image.resize(size).save(tmp_path / "photos" / f"{name}.png")
    return sorted((tmp_path / "photos").iterdir())


def same(found: Segmentation, wanted: Segmentation) -> None:
    assert np.array_equal(found.label, wanted.label)
    assert found.confidences == pytest.approx(wanted.confidences, abs=1e-5)
    assert found.classes == wanted.classes


@pytest.mark.parametrize(
    "options",
    [{}, {"crf": False}, {"scales": [32, 64], "flip": True}, {"scales": (32,), "crf": False, "flip": True}],
)
def test_masks_are_those_that_predict_writes(
    trained: Path, files: list[Path], tmp_path: Path, options: dict[str, Any]
) -> None:
    masks = getam.predict(files[0].parent, model=trained, out=tmp_path / "masks", **options)
    for found, file in zip(getam.segment(trained, files, **options), files, strict=True):
        written = masks / f"{file.stem}.png"
        assert np.array_equal(found.label, read_mask(written))
        assert read_confidences(written) == pytest.approx(found.confidences, abs=1e-4)
        assert found.title == file.stem
        assert found.save(tmp_path / "own").read_bytes() == written.read_bytes()
    assert (tmp_path / "own" / "classes.txt").read_text() == (masks / "classes.txt").read_text()


def test_options_change_the_mask(trained: Path, files: list[Path]) -> None:
    """So that one which is ignored is noticed: those of the test above could all be."""
    net = getam.load_model(trained)
    found = [
        getam.segment(net, files[0], **options).confidences
        for options in ({}, {"scales": [32]}, {"flip": True}, {"scales": [32], "flip": True})  # type: ignore[call-overload]
    ]
    assert len({tuple(sorted(each.items())) for each in found}) == len(found)


def test_every_kind_of_photo_and_model(trained: Path, files: list[Path]) -> None:
    wanted = getam.segment(trained, files[0])
    net = getam.load_model(trained)
    with Image.open(files[0]) as opened:
        pixels = np.asarray(opened)
        for photo in (str(files[0]), opened, pixels):
            same(getam.segment(net, photo), wanted)
        assert getam.segment(net, opened).title == "lying"
    assert getam.segment(net, pixels).title == "photo"
    same(getam.segment(net, pixels[None])[0], wanted)
    for model in (str(trained), trained / "model.safetensors", torch.compile(net, backend="eager")):
        same(getam.segment(model, files[0]), wanted)
    assert getam.segment(None, files[0]).classes == ("cat", "cow", "dog", "horse", "person", "sheep")


def test_a_network_in_training_is_read_as_it_is_and_left_so(trained: Path, files: list[Path]) -> None:
    net = getam.load_model(trained)
    wanted = getam.segment(net, files[0])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    same(getam.segment(net.train(), files[0]), wanted)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_told_the_tags_no_other_class_is_found(trained: Path, files: list[Path], tmp_path: Path) -> None:
    tags = tmp_path / "tags.csv"
    tags.write_text("image,tags\nlying.png,blue\nupright.png,\n")
    masks = getam.predict(files[0].parent, model=trained, tags=tags, out=tmp_path / "masks")
    net = getam.load_model(trained)
    told = getam.segment(net, files, [["blue"], []])
    for found, file in zip(told, files, strict=True):
        assert np.array_equal(found.label, read_mask(masks / f"{file.stem}.png"))
        assert {*found.shares()} <= {"blue"}
    same(getam.segment(net, files[0], "blue"), told[0])
    same(getam.segment(net, files[0], ["blue"]), told[0])
    same(getam.segment(net, files, "blue")[0], told[0])
    same(getam.segment(net, files, ["blue", "red"])[0], told[0])
    assert not told[1].label.any()


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ([["blue"]], "tags of 1 photos were given for 2"),
        (["blue", "blue", "red"], "tags of 3 photos were given for 2"),
        (["blue", "bleu"], "does not know the tag 'bleu': did you mean 'blue'"),
    ],
)
def test_tags_that_do_not_fit(trained: Path, files: list[Path], tags: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        getam.segment(trained, files, tags)


def test_other_mistakes_are_one_sentence(trained: Path, files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no photo"):
        getam.segment(trained, [])
    with pytest.raises(InputError, match="photo number 1 is a int"):
        getam.segment(trained, [files[0], 3])  # type: ignore[call-overload]
    with pytest.raises(InputError, match=r"VisionTransformer has no decoder.*getam\.explain"):
        getam.segment(tiny.vit(), files[0])
    with pytest.raises(InputError, match="must be one or more positive long sides"):
        getam.segment(trained, files[0], scales=[0])
    with pytest.raises(InputError, match="nothing"):
        getam.segment(tmp_path / "nothing", files[0])
