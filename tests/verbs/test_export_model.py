"""`getam export`: what it writes, refuses and says; the files themselves are tested in tests/exported."""

from __future__ import annotations

import copy
import json
import re
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
from getam.data.mask_folder import classes_of
from getam.data.masks import write_classes, write_mask
from getam.engine.weights_hash import weights_hash
from getam.errors import InputError, WeightsError
from getam.exported.onnx_segmenter import OnnxSegmenter
from getam.nets.embedded import embedded_model
from getam.nets.segmenter import Segmenter
from getam.verbs import export_model
from getam.verbs.export_int8 import miou, with_truth
from getam.verbs.export_model import check_photos, export
from getam.verbs.predict import predict


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
    other = export(Path("embedded"), photos=photo, licence="mine", out=Path("b.onnx"))
    assert OnnxSegmenter(other).about.licence == "mine"


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
@pytest.mark.parametrize(("to", "shift"), [("onnx", 0.002), ("onnx", float("nan")), ("torch", 0.002)])
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
    from getam.engine.model_file import save_model
    from getam.nets.classifier import build_classifier

    net = build_classifier("resnet10t", ("a", "b"), weights="", output_stride=16)
    save_model(tmp_path / "c.safetensors", net, {"backbone": "resnet10t", "output_stride": 16})
    with pytest.raises(InputError, match=r"without a decoder, which cannot predict masks"):
        export(tmp_path / "c.safetensors", out=tmp_path / "c.onnx")
    assert not (tmp_path / "c.onnx").exists()


def test_photos_of_a_folder_are_taken_all_over_it(tmp_path: Path) -> None:
    for number in range(20):
        Image.new("RGB", (20 + number, 10)).save(tmp_path / f"{number:02}.png")
    found = check_photos(tmp_path)
    assert [photo.shape[2] - 20 for photo in found.photos] == [0, 2, 5, 7, 10, 12, 15, 17]
    assert [file.stem for file in found.files] == ["00", "02", "05", "07", "10", "12", "15", "17"]
    assert found.words == f"photos of {tmp_path}"
    found = check_photos(tmp_path / "03.png")
    assert [photo.shape for photo in found.photos] == [(3, 10, 23)]
    assert found.words == f"photo of {tmp_path / '03.png'}"


def test_without_photos_there_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    found = check_photos(None)
    assert (len(found.photos), found.words, found.files) == (4, "photos of scikit-image", ())
    assert all(photo.dtype == torch.uint8 and photo.shape[0] == 3 for photo in found.photos)
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    found = check_photos(None)
    assert found.words.startswith("pictures of noise")
    assert len({photo.shape for photo in found.photos}) == 4
    assert all(float(photo.min()) >= 0 and float(photo.max()) <= 255 for photo in found.photos)
    assert all(photo.std() > 20 for photo in found.photos)


@pytest.mark.usefixtures("quick")
def test_int8_keeps_what_changes_less_and_says_what_it_loses(
    trained: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = tmp_path / "truth"
    write_classes(masks, ["cat", "dog"])
    for number in (0, 2):
        label = np.full((40, 48), 1 + number // 2, np.uint8)
        write_mask(masks / f"scene{number}.png", label)
    line = ["export", str(trained), "--int8", "--photos", str(scenes / "photos"), "--truth", str(masks)]
    exact, out = tmp_path / "exact.onnx", tmp_path / "net.onnx"
    assert cli.main([*line[:2], *line[3:5], "--out", str(exact)]) == 0
    assert cli.main([*line, "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert "before quantisation, over 6 photos of" in said
    found = re.search(
        r"int8, (\w+): ([\d.]+)% of the pixels of 6 photos of .* label \((\w+): ([\d.]+)%\)", said
    )
    assert found is not None
    assert {found[1], found[3]} == {"static", "dynamic"}
    assert 0 < float(found[2]) <= float(found[4]) < 60
    assert re.search(
        r"mIoU 0\.\d{3} where float32 has 0\.\d{3}, on 2 photos with truth \(long side 320, no CRF\)", said
    )
    about = OnnxSegmenter(out).about
    assert about.quantised.startswith(f"int8, {found[1]}")
    kinds = {tensor.data_type for tensor in onnx.load(out).graph.initializer}
    assert onnx.TensorProto.INT8 in kinds
    assert onnx.TensorProto.INT8 not in {tensor.data_type for tensor in onnx.load(exact).graph.initializer}
    pairs = [(scenes / "photos" / f"scene{number}.png", masks / f"scene{number}.png") for number in (0, 2)]
    assert f"float32 has {miou(exact, pairs, classes_of(masks)):.3f}" in said
    assert f"mIoU {miou(out, pairs, classes_of(masks)):.3f} where" in said


def test_miou_is_that_of_the_masks(tiny_onnx: Path, scenes: Path, tmp_path: Path) -> None:
    own = predict(scenes / "photos", model=tiny_onnx, out=tmp_path / "own", crf=False)
    pairs = [(scenes / "photos" / f"scene{number}.png", own / f"scene{number}.png") for number in range(3)]
    assert miou(tiny_onnx, pairs, classes_of(own)) == 1


def test_photos_that_ranges_come_from_are_not_scored(tmp_path: Path) -> None:
    write_classes(tmp_path / "truth", ["cat"])
    files = [tmp_path / "photos" / f"{name}.jpg" for name in "abc"]
    for name in "ab":
        write_mask(tmp_path / "truth" / f"{name}.png", np.ones((4, 4), np.uint8))
    (tmp_path / "photos").mkdir()
    found = with_truth(files, tmp_path / "photos", tmp_path / "truth", files[:1])
    assert found == [(files[1], tmp_path / "truth" / "b.png")]
    assert len(with_truth(files, tmp_path / "photos", tmp_path / "truth", files)) == 2  # there are no others
    with pytest.raises(
        InputError, match=r"no photo of .* has a mask in .*: masks are PNGs called as their photos"
    ):
        with_truth(files[2:], tmp_path / "photos", tmp_path / "truth", [])


def test_int8_is_for_onnx_and_truth_for_int8(trained: Path, scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--int8 is for --to onnx, not torch"):
        export(trained, to="torch", int8=True, out=tmp_path / "a")
    for options in ({"photos": scenes}, {"int8": True}):
        with pytest.raises(InputError, match="--truth says what --int8 loses on --photos: give all three"):
            export(trained, truth=scenes / "truth", out=tmp_path / "a", **options)  # type: ignore[arg-type]


def test_it_is_a_function_too() -> None:
    assert getam.export is export
    assert np.array(getam.__all__).tolist().count("export") == 1
