"""`getam predict --tags`: of each photo only its tags may win, with a network in torch, in ONNX, whole and in tiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import getam
from getam.data.confidences import confidences, read_confidences
from getam.data.masks import read_mask
from getam.data.photos import as_tensor, read_photo
from getam.errors import InputError
from getam.exported.arrays import softmax
from getam.label_numbers import Among
from getam.nets.inference import photo_logits
from getam.nets.segmenter import Segmenter
from getam.refine.crf import dense_crf
from getam.refine.crf_parameters import DEEPLAB
from getam.verbs.predict_tiles import TiledPredictor

CLASSES = ("cat", "dog", "cow")  # of the tiny network and its ONNX file
TAGS = {"a": "cow", "b": "dog;cat", "c": "", "d": "cat;dog;cow"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(3)
    for name in TAGS:
        pixels = random.integers(0, 255, (9, 7, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((72, 48), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    return folder


def table(photos: Path, tags: dict[str, str] = TAGS) -> Path:
    file = photos.parent / "tags.csv"
    file.write_text("image,tags\n" + "".join(f"{name}.png,{own}\n" for name, own in tags.items()))
    return file


@pytest.fixture
def in_torch(tiny_network: Segmenter, monkeypatch: pytest.MonkeyPatch) -> Segmenter:
    monkeypatch.setattr("getam.verbs.predict_torch.load_segmenter", lambda *_, **__: tiny_network)
    monkeypatch.setattr("getam.verbs.predict_torch.weights_hash", lambda *_: "w")
    return tiny_network


@pytest.mark.parametrize("crf", [False, True])
def test_the_largest_among_background_and_tags_wins(
    crf: bool, photos: Path, in_torch: Segmenter, tmp_path: Path
) -> None:
    out = getam.predict(photos, tags=table(photos), out=tmp_path / "out", scales=(64,), crf=crf)
    free = getam.predict(photos, out=tmp_path / "free", scales=(64,), crf=crf)
    assert in_torch.classes == CLASSES
    for name, own in TAGS.items():
        photo = as_tensor(read_photo(photos / f"{name}.png"))
        channels = [0, *sorted(CLASSES.index(tag) + 1 for tag in own.split(";") if tag)]
        beliefs = photo_logits(in_torch, photo, (64,))[channels].softmax(0)
        values = dense_crf(photo.float()[None], beliefs[None], parameters=DEEPLAB)[0] if crf else beliefs
        winner = values.argmax(0).numpy()
        found = read_mask(out / f"{name}.png")
        np.testing.assert_array_equal(found, np.array(channels)[winner])
        named = [CLASSES[channel - 1] for channel in channels[1:]]
        assert read_confidences(out / f"{name}.png") == pytest.approx(
            confidences(beliefs.numpy(), winner, named), abs=1e-4
        )
    assert len(np.unique(read_mask(out / "d.png"))) > 2
    assert not read_mask(out / "c.png").any()
    assert (read_mask(out / "a.png") != read_mask(free / "a.png")).any()
    np.testing.assert_array_equal(read_mask(out / "d.png"), read_mask(free / "d.png"))  # all may win
    records = [json.loads((folder / "protocol.jsonl").read_text()) for folder in (out, free)]
    assert [record["tags_at_test_time"] for record in records] == [True, False]
    assert [record["options"]["tags"] for record in records] == [str(photos.parent / "tags.csv"), None]


@pytest.mark.parametrize("options", [{}, {"crf": False}, {"tile": 40, "scales": (32,)}])
@pytest.mark.usefixtures("in_torch")
def test_an_onnx_file_gives_the_masks_of_torch(
    options: dict[str, Any], photos: Path, tiny_onnx: Path, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"tags": table(photos), "scales": (64,), **options}
    there = getam.predict(photos, out=tmp_path / "torch", **given)
    here = getam.predict(photos, model=tiny_onnx, out=tmp_path / "onnx", **given)
    for name, own in TAGS.items():
        mask, other = read_mask(here / f"{name}.png"), read_mask(there / f"{name}.png")
        assert (mask != other).mean() < 2e-3
        assert set(np.unique(mask).tolist()) <= {
            0,
            *(CLASSES.index(tag) + 1 for tag in own.split(";") if tag),
        }
        sure = read_confidences(there / f"{name}.png")
        assert read_confidences(here / f"{name}.png") == pytest.approx(sure, abs=2e-3)


def test_tiles_of_a_network_that_sees_single_pixels_change_nothing() -> None:
    colours = np.random.default_rng(5).normal(size=(4, 3)).astype(np.float32) / 50

    class OnePixel:
        classes, weights_sha256, patch = ("a", "b", "c"), "w", 4
        logits = staticmethod(
            lambda photos: (
                np.einsum("cd,hwd->chw", colours, np.asarray(each, np.float32)) for each in photos
            )
        )

    photo = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 52, 3)).astype(np.uint8))
    network: Any = OnePixel()
    label, sure = TiledPredictor(network, 16, scales=(16,), crf=False).masks(photo, (40, 52), [2, 0])
    logits = next(OnePixel.logits([photo]))[[0, 1, 3]]
    winner = logits.argmax(0)
    np.testing.assert_array_equal(label, np.array([0, 1, 3])[winner])
    assert len(np.unique(label)) > 1
    assert sure == pytest.approx(confidences(softmax(logits), winner, ("a", "c")), abs=1e-5)


@pytest.mark.usefixtures("in_torch")
def test_photos_without_a_line_are_left_out_and_a_changed_tag_is_done_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"out": tmp_path / "out", "scales": (32,), "crf": False}
    tags = table(photos, {"a": "cow", "b": "dog"})
    looked: list[str] = []

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("getam.verbs.predict.end_with_first_look", stopped)
        with pytest.raises(KeyboardInterrupt):
            getam.predict(photos, tags=tags, **given)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["a.png", "b.png"]
    before = (tmp_path / "out" / "a.png").stat().st_mtime_ns
    table(photos, {"a": "cow", "b": "cat"})
    read = getam.verbs.predict.read_photo_near

    def noted(path: Path, *given: Any) -> Any:
        looked.append(path.name)
        return read(path, *given)

    monkeypatch.setattr("getam.verbs.predict.read_photo_near", noted)
    getam.predict(photos, tags=tags, **given)
    assert looked == ["b.png"]
    assert (tmp_path / "out" / "a.png").stat().st_mtime_ns == before
    assert set(np.unique(read_mask(tmp_path / "out" / "b.png")).tolist()) <= {0, 1}


def test_a_class_that_nobody_looked_for_may_win(
    photos: Path, in_torch: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"out": tmp_path / "out", "scales": (64,), "crf": False}
    tags = photos.parent / "tags.csv"
    tags.write_text("image,cat,dog,cow\na.png,1,0,\nb.png,1,0,0\nd.png,0,1,1\n")
    shown: list[Any] = []
    monkeypatch.setattr("getam.verbs.predict.end_with_first_look", lambda *_, tags, **__: shown.append(tags))
    out = getam.predict(photos, tags=tags, **given)
    free = getam.predict(photos, **{**given, "out": tmp_path / "free"})
    photo = as_tensor(read_photo(photos / "a.png"))
    logits = photo_logits(in_torch, photo, (64,))[[0, 1, 3]]
    np.testing.assert_array_equal(read_mask(out / "a.png"), torch.tensor([0, 1, 3])[logits.argmax(0)].numpy())
    assert 3 in read_mask(out / "a.png")
    assert set(np.unique(read_mask(out / "b.png")).tolist()) <= {0, 1}
    assert shown == [{"a": [0], "b": [0], "d": [2, 1]}, None]  # it need not be found either
    assert (free / "c.png").is_file()
    assert not (out / "c.png").exists()


@pytest.mark.usefixtures("in_torch")
def test_what_cannot_be_told_is_refused(photos: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"out": tmp_path / "out", "scales": (32,), "crf": False}
    tags = table(photos)
    with pytest.raises(
        InputError, match=r"--tags is for a folder of photos, and .*a.png is one: give the fold"
    ):
        getam.predict(photos / "a.png", tags=tags, **given)
    for option in ({"format": "csv"}, {"map": tags}, {"classes": ("cat",)}):
        with pytest.raises(InputError, match=f"--{next(iter(option))} is of --tags: give those too"):
            getam.predict(photos, **option, **given)
    sofa = table(photos, {"a": "cat;sofa"})
    with pytest.raises(InputError, match="the model does not know the tag 'sofa': it knows cat, dog, cow"):
        getam.predict(photos, tags=sofa, **given)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="not valid JSON"):
        getam.predict(photos, tags=sofa, format="json", **given)
    its = getam.predict(photos, tags=sofa, classes=("cat",), **{**given, "out": tmp_path / "cats"})
    assert set(np.unique(read_mask(its / "a.png")).tolist()) <= {0, 1}
    (tmp_path / "map.csv").write_text("sofa,\nkitty,cat\n")
    table(photos, {"a": "kitty;sofa"})
    out = getam.predict(photos, tags=sofa, map=tmp_path / "map.csv", **given)
    assert set(np.unique(read_mask(out / "a.png")).tolist()) <= {0, 1}


def test_numbers_of_long_class_lists() -> None:
    among = Among([f"c{n}" for n in range(300)], [299, 4])
    assert among.channels == [0, 5, 300]
    assert among.names == ("c4", "c299")
    label = among.labels(np.array([[2, 0, 1]]))
    assert (label.dtype, label.tolist()) == (np.uint16, [[300, 0, 5]])
    short = Among([f"c{n}" for n in range(254)], [253])
    assert short.channels == [0, 254]
    assert short.labels(np.array([[1]])).dtype == np.uint8


def test_nothing_is_copied_where_all_may_win() -> None:
    among = Among(CLASSES)
    assert (among.channels, among.names) == ([0, 1, 2, 3], CLASSES)
    logits, winner = np.zeros((4, 2, 2), np.float32), np.zeros((2, 2), np.uint8)
    assert among.of(logits) is logits
    assert among.labels(winner) is winner
