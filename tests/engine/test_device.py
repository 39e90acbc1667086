"""Devices by name: those that are there are chosen, others named in one sentence; networks and photos meet on them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

from getam import cli
from getam.engine import device as room
from getam.engine.device import choose_device
from getam.engine.model import load_model, load_segmenter
from getam.errors import InputError


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
    default = inspect.signature(cli.VERBS[verb]).parameters["device"].default
    assert default == ("cpu" if verb == "bench" else room.AUTO)
