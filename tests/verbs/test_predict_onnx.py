"""`getam predict` with an ONNX file: the masks of the network in torch, made where there is no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import getam
import tiny
from getam import cli
from getam.data.confidences import read_confidences
from getam.data.masks import read_classes, read_mask
from getam.errors import InputError
from getam.exported.onnx_segmenter import OnnxSegmenter
from getam.exported.write import with_about
from getam.nets.segmenter import Segmenter
from getam.verbs.export_model import about_of
from getam.verbs.open_predictor import open_predictor
from getam.verbs.predict import predict
from getam.verbs.predict_onnx import OnnxPredictor

WITHOUT_TORCH = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "timm", "lightning_fabric"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
from getam.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise of several sizes, one beyond 1000 pixels; coarse, so that masks are more than single pixels."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(3)
    for name, size in {"small": (72, 48), "tall": (60, 130), "large": (1040, 420)}.items():
        pixels = random.integers(0, 255, (9, 7, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def in_torch(tiny_network: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever torch is told to load is the network that the file was made of."""
    monkeypatch.setattr("getam.verbs.predict_torch.load_segmenter", lambda *_, **__: tiny_network)
    monkeypatch.setattr("getam.verbs.predict_torch.weights_hash", lambda *_: "w")


@pytest.mark.parametrize(
    "options",
    [
        {"scales": (64,), "crf": False},
        {"scales": (64, 96), "crf": False},
        {"scales": (64,), "flip": True, "crf": False},
        {"scales": (64,)},
        {"scales": (96,), "flip": True},
        {"crf": False},
    ],
)
@pytest.mark.usefixtures("in_torch")
def test_masks_are_those_of_torch(
    options: dict[str, Any], photos: Path, tiny_onnx: Path, tmp_path: Path
) -> None:
    there = predict(photos, out=tmp_path / "torch", **options)
    here = predict(photos, model=tiny_onnx, out=tmp_path / "onnx", **options)
    assert read_classes(here) == read_classes(there) == ("cat", "dog", "cow")
    for name in ("small", "tall", "large"):
        own, its = read_mask(here / f"{name}.png"), read_mask(there / f"{name}.png")
        assert len(np.unique(own)) > 2
        assert (own != its).mean() < 2e-3, f"{(own != its).mean():.2%} of {name} differ"
        sure = read_confidences(there / f"{name}.png")
        assert read_confidences(here / f"{name}.png") == pytest.approx(sure, abs=2e-3)


def test_each_option_changes_the_mask(photos: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    plain: dict[str, Any] = {"model": tiny_onnx, "scales": (64,), "crf": False}
    masks = [
        read_mask(predict(photos / "tall.png", out=tmp_path / str(n), **{**plain, **change}) / "tall.png")
        for n, change in enumerate(({}, {"scales": (96,)}, {"flip": True}, {"crf": True}))
    ]
    assert all((other != masks[0]).any() for other in masks[1:])


def test_the_file_says_at_which_size_it_sees_photos(tiny_onnx: Path, tmp_path: Path) -> None:
    net = tiny.hybrid_segmenter()
    net.crop = 500
    about = replace(OnnxSegmenter(tiny_onnx).about, side=about_of(net, "h", "MIT").side)
    larger = tmp_path / "larger.onnx"
    larger.write_bytes(with_about(tiny_onnx.read_bytes(), about))
    for file, scales, expected in ((tiny_onnx, None, (320,)), (larger, None, (700,)), (larger, (64,), (64,))):
        predictor = OnnxPredictor(file, scales=scales, flip=False, crf=False, device="cpu")
        assert predictor.scales == expected
    assert open_predictor(larger, scales=None, flip=False, crf=False, device="cpu", tile=700).scales == (700,)
    with pytest.raises(InputError, match="--tile 699 is smaller than the 700 pixels"):
        open_predictor(larger, scales=None, flip=False, crf=False, device="cpu", tile=699)


def test_it_runs_where_torch_cannot_be_imported(photos: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    line = ["predict", str(photos), "--model", str(tiny_onnx), "--scales", "64", "--to", "coco"]
    script = [sys.executable, "-c", WITHOUT_TORCH, *line, "--out", str(tmp_path / "without")]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with_torch = predict(photos, model=tiny_onnx, out=tmp_path / "with", scales=(64,))
    for name in ("small", "tall", "large"):
        np.testing.assert_array_equal(
            read_mask(tmp_path / "without" / f"{name}.png"), read_mask(with_torch / f"{name}.png")
        )
    assert (tmp_path / "without" / "first-look.html").is_file()
    assert (tmp_path / "without-coco" / "annotations.json").is_file()
    record = json.loads((tmp_path / "without" / "protocol.jsonl").read_text())
    assert (
        record["weights_sha256"]
        == OnnxPredictor(tiny_onnx, scales=(64,), flip=False, crf=False, device="cpu").weights_sha256
    )
    assert record["environment"]["cuda"] is None
    refused = subprocess.run(
        [*script[:3], "predict", str(photos)], capture_output=True, text=True, check=False
    )
    assert "No module named 'torch'" in refused.stderr  # it was blocked


def test_large_photos_are_looked_at_at_1000_or_the_largest_scale(photos: Path, tiny_onnx: Path) -> None:
    with Image.open(photos / "large.png") as opened:
        photo = opened.convert("RGB")
    for scales, side in (((64,), 1000), ((64, 1030), 1030), ((1400,), 1040)):
        predictor = open_predictor(tiny_onnx, scales=scales, flip=False, crf=False, device="auto")
        assert predictor.prepare(photo, (420, 1040)).width == side


def test_other_devices_are_refused(
    photos: Path, tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["predict", str(photos), "--model", str(tiny_onnx), "--out", str(tmp_path / "out")]
    assert cli.main([*line, "--device", "cuda"]) == 2
    assert "--device cuda: ONNX files run on the CPU here" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    upper = tiny_onnx.rename(tiny_onnx.with_suffix(".ONNX"))
    try:
        assert (
            cli.main([*line[:3], str(upper), *line[4:], "--device", "cpu", "--scales", "32", "--no-crf"]) == 0
        )
    finally:
        upper.rename(tiny_onnx)


def test_logits_that_are_not_finite_are_said(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = OnnxPredictor(tiny_onnx, scales=(32,), flip=False, crf=False, device="auto")
    monkeypatch.setattr(
        "getam.exported.onnx_segmenter.OnnxSegmenter.__call__",
        lambda _, images: (np.full((1, 4, *images.shape[2:]), np.nan, np.float32), None),
    )
    with pytest.raises(InputError, match="are not finite"):
        predictor.masks(Image.new("RGB", (40, 30)), (30, 40))


@pytest.mark.parametrize("verb", ["explain", "label"])
def test_verbs_that_read_maps_say_why_not(
    verb: str, tiny_onnx: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [str(scenes / "photos")] if verb == "explain" else ["--data", str(scenes / "photos")]
    more = ["--tags", str(scenes / "tags.csv")] if verb == "label" else []
    assert cli.main([verb, *data, *more, "--model", str(tiny_onnx), "--out", str(tmp_path / "o")]) == 2
    assert "net.onnx is an exported network, which gives masks and no maps" in capsys.readouterr().err


def test_a_program_of_torch_is_not_for_predict(tmp_path: Path) -> None:
    (tmp_path / "net.pt2").write_bytes(b"")
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"net\.pt2 is a program of torch\.export"):
        getam.predict(tmp_path, model=tmp_path / "net.pt2", out=tmp_path / "o")
