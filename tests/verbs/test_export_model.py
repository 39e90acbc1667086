"""`getam export`: what it writes, refuses and says; the files themselves are tested in tests/exported."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import getam
from getam import cli
from getam.errors import InputError, WeightsError
from getam.exported.onnx_segmenter import OnnxSegmenter
from getam.nets.embedded import embedded_model
from getam.nets.segmenter import Segmenter
from getam.verbs import export_model
from getam.verbs.export_model import check_photos, export
from getam.verbs.outputs import weights_hash


@pytest.fixture
def quick(
    tiny_network: Segmenter, tiny_program: Any, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiny network whatever is loaded, exported already; each file with its own metadata."""

    def as_onnx(_: object, about: Any) -> bytes:
        model = onnx.load(tiny_onnx)
        onnx.helper.set_model_props(model, about.as_metadata())
        return model.SerializeToString()

    monkeypatch.setattr(export_model, "load_segmenter", lambda _: tiny_network)
    monkeypatch.setattr(export_model, "program_of", lambda _: tiny_program)
    monkeypatch.setattr(export_model, "onnx_bytes", as_onnx)


@pytest.mark.usefixtures("quick")
def test_a_run_becomes_a_file_named_after_it(
    trained: Path,
    scenes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        cli.main(["export", str(trained), "--photos", str(scenes / "photos"), "--licence", "CC-BY-4.0"]) == 0
    )
    said = capsys.readouterr()
    assert said.out == "run.onnx\n"
    assert "largest difference from the original" in said.err
    assert said.err.rstrip().endswith(f"over 6 photos of {scenes / 'photos'}")
    about = OnnxSegmenter(tmp_path / "run.onnx").about
    assert (about.licence, about.weights_sha256) == ("CC-BY-4.0", weights_hash(trained))
    assert about.labels == ("background", "cat", "dog", "cow")
    export(trained / "model.safetensors", to="torch", photos=scenes / "photos")
    extra = {"getam.json": ""}
    torch.export.load(tmp_path / "run.pt2", extra_files=extra)
    assert json.loads(extra["getam.json"])["licence"] == "not stated"


@pytest.mark.usefixtures("quick")
def test_the_embedded_model_has_its_own_name_and_licence(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photo = scenes / "photos" / "scene0.png"
    assert export(Path("embedded"), photos=photo) == Path("embedded.onnx")
    about = OnnxSegmenter(Path("embedded.onnx")).about
    assert (about.licence, about.weights_sha256) == ("Apache-2.0", weights_hash(embedded_model()))
    assert (
        OnnxSegmenter(
            export(Path("embedded"), photos=photo, licence="mine", out=Path("b.onnx"))
        ).about.licence
        == "mine"
    )


@pytest.mark.usefixtures("quick")
def test_what_is_there_is_replaced_on_request_only(trained: Path, scenes: Path, tmp_path: Path) -> None:
    out, photo = tmp_path / "deep" / "net.onnx", scenes / "photos" / "scene0.png"
    assert export(trained, out=out, photos=photo) == out
    with pytest.raises(
        InputError, match=r"net\.onnx exists: choose another --out, or replace it with --overwrite"
    ):
        export(trained, out=out, photos=photo)
    before = out.stat().st_ino
    export(trained, out=out, photos=photo, overwrite=True)
    assert out.stat().st_ino != before
    with pytest.raises(InputError, match="is a folder: give a file with --out"):
        export(trained, out=tmp_path, photos=photo, overwrite=True)
    with pytest.raises(InputError, match="is read here and would be written over"):
        export(trained, out=trained / "model.safetensors", overwrite=True)
    with pytest.raises(InputError, match=r"--to tflite: choose onnx or torch"):
        export(trained, to="tflite")  # type: ignore[arg-type]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("to", ["onnx", "torch"])
@pytest.mark.parametrize("shift", [0.002, float("nan")])
def test_a_file_that_differs_is_not_left(
    to: Any, shift: float, tiny_network: Segmenter, trained: Path, scenes: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    other = copy.deepcopy(tiny_network)
    with torch.no_grad():
        other.classifier.bias.add_(shift)
    monkeypatch.setattr(export_model, "load_segmenter", lambda _: other)
    out = tmp_path / "net.file"
    with pytest.raises(WeightsError, match=r"differs from its original by up to (0\.00\d+|inf) on 1 photos"):
        export(trained, to=to, out=out, photos=scenes / "photos" / "scene0.png")
    assert list(tmp_path.iterdir()) == []
    out.write_text("of before")
    with pytest.raises(WeightsError):
        export(trained, to=to, out=out, photos=scenes / "photos" / "scene0.png", overwrite=True)
    assert out.read_text() == "of before"


def test_a_network_without_a_decoder_is_refused(
    scenes: Path, tmp_path: Path, tiny_network: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    from getam.engine.runfolder import save_model
    from getam.nets.classifier import build_classifier

    net = build_classifier("resnet10t", ("a", "b"), weights="", output_stride=16)
    save_model(tmp_path / "c.safetensors", net, {"backbone": "resnet10t", "output_stride": 16})
    with pytest.raises(InputError, match=r"without a decoder, which cannot predict masks"):
        export(tmp_path / "c.safetensors", out=tmp_path / "c.onnx")
    assert not (tmp_path / "c.onnx").exists()


def test_photos_of_a_folder_are_taken_all_over_it(tmp_path: Path) -> None:
    for number in range(20):
        Image.new("RGB", (20 + number, 10)).save(tmp_path / f"{number:02}.png")
    found, words = check_photos(tmp_path)
    assert [photo.shape[2] - 20 for photo in found] == [0, 2, 5, 7, 10, 12, 15, 17]
    assert words == f"photos of {tmp_path}"
    found, words = check_photos(tmp_path / "03.png")
    assert [photo.shape for photo in found] == [(3, 10, 23)]
    assert words == f"photo of {tmp_path / '03.png'}"


def test_without_photos_there_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    found, words = check_photos(None)
    assert len(found) == 4
    assert words == "photos of scikit-image"
    assert all(photo.dtype == torch.uint8 and photo.shape[0] == 3 for photo in found)
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    noise, words = check_photos(None)
    assert words.startswith("pictures of noise")
    assert len({photo.shape for photo in noise}) == len(noise) == 4
    assert all(float(photo.min()) >= 0 and float(photo.max()) <= 255 and photo.std() > 20 for photo in noise)


def test_it_is_a_function_too() -> None:
    assert getam.export is export
    assert np.array(getam.__all__).tolist().count("export") == 1
