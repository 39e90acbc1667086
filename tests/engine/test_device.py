"""Devices by name: those that are there are chosen, others named in one sentence; networks and photos meet on them."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from getam import cli
from getam.engine import device as room
from getam.engine.device import choose_device
from getam.engine.model import load_model, load_segmenter
from getam.engine.ranks import LAUNCHED
from getam.errors import InputError
from getam.nets.segmenter import Segmenter
from getam.verbs.explain import explain_photos


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two CUDA devices, as far as torch says."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_auto_is_the_cpu() -> None:
    assert choose_device() == choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="--device cuda: torch finds no cuda device on this machine"):
        choose_device("cuda")
    with pytest.raises(InputError, match="finds no mps device"):
        choose_device("mps")


@pytest.mark.usefixtures("two_gpus")
def test_with_gpus() -> None:
    assert choose_device() == torch.device("cuda")
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(InputError, match="--device cuda:2: there are 2 cuda devices here, counted from 0"):
        choose_device("cuda:2")


@pytest.mark.usefixtures("two_gpus")
def test_processes_of_a_machine_take_its_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device() == torch.device("cuda")  # not launched: one process
    for name in LAUNCHED:
        monkeypatch.setenv(name, "3")
    for place, index in (("0", 0), ("1", 1), ("2", 0)):
        monkeypatch.setenv("LOCAL_RANK", place)
        assert choose_device() == torch.device("cuda", index)
        assert choose_device("cuda:0") == torch.device("cuda", 0)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "meta", "cpu:0:1"])
def test_what_is_no_device(name: str) -> None:
    with pytest.raises(InputError, match="is no device: choose auto, cpu, cuda, mps, xpu"):
        choose_device(name)


@pytest.mark.parametrize("load", [load_model, load_segmenter])
def test_a_model_is_put_on_its_device(load: Any, trained: Path) -> None:
    for given in ({"device": "meta"}, {"device": torch.device("meta")}, {}):
        net = load(trained, **given)
        wanted = "meta" if given else "cpu"
        assert {tensor.device.type for tensor in (*net.parameters(), *net.buffers())} == {wanted}


@pytest.mark.parametrize("verb", ["predict", "label", "explain", "saliency", "bench"])
def test_every_verb_takes_a_device(
    verb: str, scenes: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data = [str(scenes / "photos")] if verb in ("predict", "explain", "saliency") else []
    data = data or ["--data", str(scenes / "photos"), "--tags", str(scenes / "tags.csv")]
    line = [verb, *data, "--model", str(trained), "--out", str(tmp_path / "out")]
    assert cli.main([*line, "--device", "gpu"]) == 2
    assert "--device gpu is no device" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    default = inspect.signature(cli.VERBS[verb].load()).parameters["device"].default
    assert default == ("cpu" if verb == "bench" else room.AUTO)


class ArrivedError(Exception):
    """What the network below says instead of giving scores."""


@pytest.mark.parametrize("verb", ["predict", "label", "explain", "saliency", "bench"])
def test_photos_reach_the_network_on_the_device_that_was_asked_for(
    verb: str, scenes: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def choose(name: str) -> torch.device:
        asked.append(name)
        return torch.device("meta")

    def forward(net: Segmenter, images: torch.Tensor, **_: bool) -> None:
        assert next(net.parameters()).device == torch.device("meta")
        raise ArrivedError(images.device.type)

    module = importlib.import_module(f"getam.verbs.{'predict_torch' if verb == 'predict' else verb}")
    monkeypatch.setattr(module, "choose_device", choose)
    monkeypatch.setattr(Segmenter, "forward", forward)
    if verb in ("predict", "explain", "saliency"):
        data = [str(scenes / "photos")]
    else:
        data = ["--data", str(scenes / "photos"), "--tags", str(scenes / "tags.csv")]
    more = ["--truth", str(scenes / "truth"), "--compare", "getam"] if verb == "bench" else []
    line = [verb, *data, *more, "--model", str(trained), "--out", str(tmp_path / "out"), "--device", "cuda:1"]
    with pytest.raises(ArrivedError, match="meta"):
        cli.main(line)
    assert asked == ["cuda:1"]


def test_timm_classifiers_too(photo_of_noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def arrived(net: nn.Module, image: torch.Tensor) -> None:
        raise ArrivedError(f"{image.device.type} {next(net.parameters()).device.type}")

    monkeypatch.setattr("getam.verbs.explain.choose_device", lambda name: torch.device("meta"))
    monkeypatch.setattr("getam.opened.subject.class_scores", arrived)
    save_file(timm.create_model("resnet10t").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ArrivedError, match="meta meta"):
        explain_photos(
            photo_of_noise, model="resnet10t", weights=tmp_path / "w.safetensors", out=tmp_path / "o"
        )


@pytest.fixture
def photo_of_noise(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (32, 40, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    return tmp_path / "noise.png"
