"""`getam predict --tile`: with a network of single pixels tiles change nothing; both kinds of network agree."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import getam
from getam.data.confidences import confidences, read_confidences
from getam.data.masks import read_mask
from getam.errors import InputError
from getam.exported.arrays import Floats, enlarged_labels, softmax
from getam.nets.segmenter import Segmenter
from getam.verbs.open_predictor import open_predictor
from getam.verbs.predict_tiles import TiledPredictor

COLOURS = np.random.default_rng(5).normal(size=(4, 3)).astype(np.float32) / 50


class OnePixel:
    """Logits of three classes are weighted sums of a pixel's colours; what its CRF makes of them as well."""

    classes, weights_sha256, patch = ("a", "b", "c"), "w", 4

    def __init__(self) -> None:
        self.tiles: list[tuple[int, int]] = []

    def seen_side(self, long_side: int) -> int:
        return 7

    def prepare(self, photo: Image.Image, size: tuple[int, int]) -> Any:
        return "small", size

    def masks(self, photo: Any, size: tuple[int, int], present: Any = None) -> Any:
        return (*photo, present), {}

    def logits(self, photos: Sequence[Image.Image]) -> Iterator[Floats]:
        for photo in photos:
            self.tiles.append(photo.size)
            yield np.einsum("cd,hwd->chw", COLOURS, np.asarray(photo, np.float32))

    def sharpened(self, photo: Image.Image, beliefs: Floats) -> Floats:
        assert beliefs.shape[1:] == (photo.height, photo.width)
        return beliefs[[1, 2, 3, 0]] * np.asarray(photo, np.float32)[..., 0]


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3)).astype(np.uint8))


@pytest.mark.parametrize("size", [(52, 40), (40, 52), (68, 8), (1200, 516), (20, 20)])
@pytest.mark.parametrize("crf", [False, True])
def test_tiles_of_a_network_that_sees_single_pixels_change_nothing(size: tuple[int, int], crf: bool) -> None:
    photo, network = noise(*size), OnePixel()
    shape = (photo.height, photo.width)
    tiled = TiledPredictor(network, 16, scales=(8, 16), crf=crf)
    label, sure = tiled.masks(tiled.prepare(photo, shape), shape)
    logits = next(OnePixel().logits([photo]))
    values = network.sharpened(photo, softmax(logits)) if crf else logits
    np.testing.assert_array_equal(label, values.argmax(0))
    assert sure == pytest.approx(confidences(softmax(logits), values.argmax(0), network.classes), abs=1e-5)
    assert set(network.tiles) == {(min(16, size[0]), min(16, size[1]))}


def test_a_tile_is_seen_at_the_largest_scale() -> None:
    photo, network = noise(160, 120), OnePixel()
    tiled = TiledPredictor(network, 32, scales=(8, 16), crf=False)
    assert tiled.seen_side(160) == 80
    seen = tiled.prepare(photo, (120, 160))
    assert seen.size == (80, 60)
    assert tiled.prepare(photo.resize((100, 75)), (120, 160)).size == (80, 60)  # a JPEG that came smaller
    label, _ = tiled.masks(seen, (120, 160))
    logits = next(OnePixel().logits([photo.resize((80, 60), Image.Resampling.BILINEAR)]))
    assert (label == enlarged_labels(logits, (120, 160))).mean() > 0.9999
    assert network.tiles[0] == (16, 16)
    assert len(network.tiles) == 7 * 5  # every 12 pixels, a quarter of a tile overlapping


def test_photos_no_larger_than_a_tile_are_left_to_the_network() -> None:
    tiled = TiledPredictor(OnePixel(), 32, scales=(16,), crf=True)
    seen = tiled.prepare(noise(32, 20), (20, 32))
    assert tiled.masks(seen, (20, 32)) == (("small", (20, 32), None), {})
    assert tiled.masks(seen, (20, 32), [1]) == (("small", (20, 32), [1]), {})
    assert tiled.seen_side(32) == 7
    assert tiled.seen_side(33) == 16


def test_tiles_smaller_than_what_is_seen_are_refused(trained: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    with pytest.raises(
        InputError, match=r"--tile 63 is smaller than the 64 pixels .* give at least --tile 64"
    ):
        getam.predict(tmp_path / "a.png", model=trained, out=tmp_path / "o", tile=63, scales=(48, 64))
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("options", [{"crf": False}, {"flip": True, "crf": False}, {"crf": True}])
def test_an_onnx_file_gives_the_masks_of_torch(
    options: dict[str, Any],
    tiny_network: Segmenter,
    tiny_onnx: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("getam.verbs.predict_torch.load_segmenter", lambda *_, **__: tiny_network)
    monkeypatch.setattr("getam.verbs.predict_torch.weights_hash", lambda *_: "w")
    noise(9, 7).resize((150, 110), Image.Resampling.BICUBIC).save(tmp_path / "a.png")
    given = {"scales": (64,), "tile": 64, **options}
    there = getam.predict(tmp_path / "a.png", out=tmp_path / "torch", **given)
    here = getam.predict(tmp_path / "a.png", model=tiny_onnx, out=tmp_path / "onnx", **given)
    own, its = read_mask(here / "a.png", (110, 150)), read_mask(there / "a.png")
    assert len(np.unique(own)) > 2
    assert (own != its).mean() < 2e-3
    assert read_confidences(here / "a.png") == pytest.approx(read_confidences(there / "a.png"), abs=2e-3)
    whole = getam.predict(tmp_path / "a.png", out=tmp_path / "whole", **{**given, "tile": None})
    assert (read_mask(whole / "a.png") != its).any()
    assert json.loads((there / "protocol.jsonl").read_text())["options"]["tile"] == 64


def test_several_tiles_at_once_are_as_one_by_one(
    tiny_network: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getam.verbs.predict_torch.load_segmenter", lambda *_, **__: tiny_network)
    monkeypatch.setattr("getam.verbs.predict_torch.weights_hash", lambda *_: "w")
    network: Any = open_predictor(None, scales=(32,), flip=False, crf=False, device="cpu")
    tiles = [noise(32, 32), noise(32, 32).rotate(90), noise(32, 32).rotate(180)]
    alone = list(network.logits(tiles))
    forwards: list[int] = []
    tiny_network.register_forward_pre_hook(lambda _, given: forwards.append(len(given[0])))
    network._at_once = 2
    np.testing.assert_allclose(np.stack(list(network.logits(tiles))), np.stack(alone), atol=1e-3)
    assert forwards == [2, 1]


def test_predict_says_once_that_tiles_exist_where_photos_are_large(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getam.verbs.predict.LARGE", 60)
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, width in (("a", 60), ("c", 61), ("b", 61)):
        noise(width, 30).save(folder / f"{name}.png")
    plain: dict[str, Any] = {"model": trained, "scales": (32,), "crf": False}
    getam.predict(folder, out=tmp_path / "o", **plain)
    said = "2 of the photos, such as b, are larger than 60 pixels and were looked at at 32: --tile 1000 looks closer"
    assert capsys.readouterr().err.count(said) == 1
    getam.predict(folder, out=tmp_path / "p", tile=32, **plain)
    assert "looks closer" not in capsys.readouterr().err
