"""ONNX and .pt2 files against the network in eager mode: any batch, any size, and what they say about themselves."""

from __future__ import annotations

import copy
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

import tiny
from getam.errors import InputError, WeightsError
from getam.exported import write
from getam.exported.about import FORMAT, INPUT, OUTPUT, RESIZING, About
from getam.exported.check import compare, run_onnx, run_torch
from getam.exported.onnx_segmenter import NEED_RUNTIME, OnnxSegmenter
from getam.exported.program import program_of, with_fixed_padding
from getam.exported.write import ABOUT, NEED_ONNX, onnx_bytes, torch_bytes
from getam.nets.segmenter import Segmenter

SHAPES = [(1, 48, 64), (3, 64, 32), (2, 32, 32)]  # the last is the grid that position embeddings belong to


@pytest.fixture(scope="module")
def torch_run(tiny_pt2: Path) -> Any:
    """The program read from its file, which takes seconds."""
    return run_torch(tiny_pt2)


@pytest.mark.parametrize("shape", [*SHAPES, (1, 8, 40), (1, 40, 8)])
def test_the_onnx_file_is_the_network(
    shape: tuple[int, int, int], tiny_network: Segmenter, tiny_onnx: Path
) -> None:
    images = tiny.photos(*shape, model=tiny_network)
    session = onnxruntime.InferenceSession(tiny_onnx)
    logits, scores = session.run(["logits", "scores"], {"images": images.numpy()})
    with torch.no_grad():
        own = tiny_network(images)
    assert own.logits is not None
    assert float(own.logits.std()) > 1
    assert torch.allclose(torch.from_numpy(logits), own.logits, atol=1e-4)
    assert torch.allclose(torch.from_numpy(scores), own.scores, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_torch_file_is_the_network(
    shape: tuple[int, int, int], tiny_network: Segmenter, torch_run: Any
) -> None:
    images = tiny.photos(*shape, model=tiny_network)
    logits, scores = torch_run(images)
    with torch.no_grad():
        own = tiny_network(images)
    assert own.logits is not None
    assert torch.allclose(logits, own.logits, atol=1e-5)
    assert torch.allclose(scores, own.scores, atol=1e-5)


def test_the_metadata_say_how_to_use_it(tiny_network: Segmenter, tiny_onnx: Path, tiny_pt2: Path) -> None:
    said = {prop.key: prop.value for prop in onnx.load(tiny_onnx).metadata_props}
    assert said == {
        "format": FORMAT, "getam_version": getam_version(), "labels": '["background", "cat", "dog", "cow"]',
        "input": INPUT, "output": OUTPUT, "patch": "8", "mean": "[127.0, 127.0, 127.0]", "std": "[128.0, 128.0, 128.0]",
        "resizing": RESIZING, "licence": "CC0-1.0", "weights_sha256": "hash of the weights", "quantised": "",
        "long_side": "320",
    }  # fmt: skip
    extra = {ABOUT: ""}
    torch.export.load(tiny_pt2, extra_files=extra)
    assert json.loads(extra[ABOUT]) == said
    assert About.from_metadata(said, "it").classes == tiny_network.classes


def getam_version() -> str:
    from importlib import metadata

    return metadata.version("getam")


def test_sizes_in_the_graph_have_names(tiny_onnx: Path) -> None:
    graph = onnx.load(tiny_onnx).graph
    sides = {
        one.name: [side.dim_param or side.dim_value for side in one.type.tensor_type.shape.dim]
        for one in (*graph.input, *graph.output)
    }
    assert sides == {
        "images": ["photos", 3, "height", "width"], "logits": ["photos", 4, "height", "width"], "scores": ["photos", 3],
    }  # fmt: skip
    onnx.checker.check_model(onnx.load(tiny_onnx), full_check=True)


def test_weights_in_a_torch_file_are_no_pickle(tiny_pt2: Path) -> None:
    with zipfile.ZipFile(tiny_pt2) as archive:
        weights = [name for name in archive.namelist() if "/weights/weight_" in name]
        config = next(
            json.loads(archive.read(n)) for n in archive.namelist() if n.endswith("weights_config.json")
        )
    assert len(weights) > 50
    assert not any(entry["use_pickle"] for entry in config["config"].values())


def test_the_network_is_left_as_it_was(tiny_network: Segmenter, tiny_onnx: Path) -> None:
    assert not tiny_network.training
    assert all(parameter.requires_grad for parameter in tiny_network.parameters())
    twin = nn.Sequential(Conv2dSame(2, 3, 3))
    before = copy.deepcopy(twin)
    with_fixed_padding(copy.deepcopy(twin))
    assert type(twin[0]) is type(before[0]) is Conv2dSame


@pytest.mark.parametrize("kernel", [1, 3, (5, 3)])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (4, 1), (1, 2)])
@pytest.mark.parametrize("bias", [False, True])
def test_paddings_are_what_they_come_to(kernel: Any, stride: int, dilation: int, bias: bool) -> None:
    net = nn.Sequential(
        nn.Sequential(Conv2dSame(4, 6, kernel, stride, dilation=dilation, groups=2, bias=bias)), nn.ReLU()
    )
    fixed = copy.deepcopy(net)
    with_fixed_padding(fixed)
    assert not any(isinstance(part, Conv2dSame) for part in fixed.modules())
    for size in ((8, 16), (32, 12)):
        images = torch.randn(2, 4, *size)
        assert torch.equal(fixed(images), net(images))


def test_a_file_of_another_network_is_found_out(
    tiny_network: Segmenter, tiny_onnx: Path, torch_run: Any
) -> None:
    photos = [(tiny.photos(1, 40, 60, tiny_network)[0]).to(torch.uint8)]
    other = copy.deepcopy(tiny_network)
    with torch.no_grad():
        other.classifier.bias.add_(0.25)
    for run in (run_onnx(tiny_onnx), torch_run):
        assert compare(tiny_network, run, photos).difference < 5e-4
        assert compare(other, run, photos).difference == pytest.approx(0.25, abs=1e-3)


def test_what_is_no_network_of_ours_is_said(tiny_network: Segmenter, tiny_onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ONNX file .*none\.onnx does not exist"):
        OnnxSegmenter(tmp_path / "none.onnx")
    (tmp_path / "broken.onnx").write_bytes(tiny_onnx.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"broken\.onnx is not a readable ONNX file"):
        OnnxSegmenter(tmp_path / "broken.onnx")
    model = onnx.load(tiny_onnx)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    with pytest.raises(WeightsError, match=r"bare\.onnx is no network that getam has exported"):
        OnnxSegmenter(tmp_path / "bare.onnx")
    said = About(("background", "cat"), 8, (1.0,) * 3, (1.0,) * 3, "1", "h").as_metadata()
    onnx.helper.set_model_props(model, said)
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(
        WeightsError, match=r"logits of \(1, 4, 8, 8\) where its metadata promise \(1, 2, 8, 8\)"
    ):
        OnnxSegmenter(tmp_path / "other.onnx")(tiny.photos(1, 8, 8, tiny_network).numpy())
    with pytest.raises(WeightsError, match=r"does not run on photos of \(1, 4, 8, 8\)"):
        OnnxSegmenter(tiny_onnx)(torch.zeros(1, 4, 8, 8).numpy())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "another", "no network that getam has exported"),
        ("labels", None, "incomplete or damaged"),
        ("labels", "{", "incomplete or damaged"),
        ("patch", "wide", "incomplete or damaged"),
        ("labels", '["background"]', "name 1 labels"),
        ("patch", "0", "a patch of 0"),
        ("long_side", "0", "a long side of 0"),
        ("long_side", "far", "incomplete or damaged"),
    ],
)
def test_damaged_metadata_are_said(key: str, value: str | None, message: str) -> None:
    said = About(("background", "cat"), 8, (1.0,) * 3, (2.0,) * 3, "1", "h", "MIT", "int8").as_metadata()
    assert About.from_metadata(said, "it") == About(
        ("background", "cat"), 8, (1.0,) * 3, (2.0,) * 3, "1", "h", "MIT", "int8"
    )
    if value is None:
        del said[key]
    else:
        said[key] = value
    with pytest.raises(WeightsError, match=message):
        About.from_metadata(said, "it")


def test_files_keep_the_long_side_at_which_the_network_sees_photos() -> None:
    about = About(("background", "cat"), 8, (1.0,) * 3, (2.0,) * 3, "1", "h", side=448)
    said = about.as_metadata()
    assert said["long_side"] == "448"
    assert About.from_metadata(said, "it") == about
    del said["long_side"]  # as in files of before
    assert About.from_metadata(said, "it").side == 320


def test_missing_packages_are_named(
    tiny_program: Any, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = About(("background", "cat"), 8, (1.0,) * 3, (2.0,) * 3, "1", "h")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError) as caught:
        OnnxSegmenter(tiny_onnx)
    assert str(caught.value) == NEED_RUNTIME
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError) as caught:
        onnx_bytes(tiny_program, about)
    assert str(caught.value) == NEED_ONNX


def test_what_exporters_cannot_do_is_one_sentence(
    tiny_network: Segmenter, tiny_program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unruly(Segmenter):
        def forward(self, images: torch.Tensor, *, masks: bool = True) -> Any:
            return super().forward(images if images.sum() > 0 else -images, masks=masks)

    net = copy.deepcopy(tiny_network)
    net.__class__ = Unruly
    with pytest.raises(
        InputError, match=r"torch\.export cannot follow the segmenter network \(.*\): train one"
    ):
        program_of(net)

    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such operation\nmore of it")

    monkeypatch.setattr(write.torch.onnx, "export", fails)
    with pytest.raises(
        InputError, match=r"cannot be written as ONNX \(no such operation\): write it with --to torch"
    ):
        onnx_bytes(tiny_program, About(("background", "cat"), 8, (1.0,) * 3, (2.0,) * 3, "1", "h"))


@pytest.mark.slow
@pytest.mark.parametrize("build", [tiny.vit_segmenter, lambda: tiny.vit_segmenter(reg_tokens=2)])
def test_plain_transformers_are_exported_too(build: Any, tmp_path: Path) -> None:
    net = build()
    program = program_of(net)
    about = About(("background", *net.classes), net.patch, (1.0,) * 3, (2.0,) * 3, "1", "h")
    (tmp_path / "net.onnx").write_bytes(onnx_bytes(program, about))
    images = tiny.photos(2, 48, 64, net)
    with torch.no_grad():
        own = net(images)
    for logits, scores in (
        OnnxSegmenter(tmp_path / "net.onnx")(images.numpy()),
        torch.export.load(io.BytesIO(torch_bytes(program, about))).module()(images),
    ):
        assert torch.allclose(torch.as_tensor(logits), own.logits, rtol=1e-4, atol=1e-2)  # logits of hundreds
        assert torch.allclose(torch.as_tensor(scores), own.scores, atol=1e-3)
