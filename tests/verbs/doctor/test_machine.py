"""Devices, threads, decoders and folders, with what they are read from replaced."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub.constants as hub
import pytest
import torch
from PIL import Image

from getam.verbs.doctor import machine
from getam.verbs.doctor.machine import GIB, decoders, devices, folders, threads, usable_cores


def on(monkeypatch: pytest.MonkeyPatch, *, cores: int, count: int, said: str | None = None) -> Any:
    """What is said of so many cores and threads of torch."""
    monkeypatch.setattr(machine, "usable_cores", lambda: cores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: count)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    return list(threads())


@pytest.mark.parametrize(("cores", "count"), [(4, 4), (4, 2), (1, 1), (3, 2)])
def test_threads_that_fit(monkeypatch: pytest.MonkeyPatch, cores: int, count: int) -> None:
    omp, ours = on(monkeypatch, cores=cores, count=count)
    assert (omp.name, omp.value) == ("OMP_NUM_THREADS", "not set")
    assert ours.value == f"{count} on {cores} core{'s' if cores > 1 else ''}"
    assert not ours.problem
    assert not ours.remedy


def test_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    omp, ours = on(monkeypatch, cores=2, count=3, said="3")
    assert omp.value == "3"
    assert ours.problem
    assert not ours.stops
    assert ours.value == "3 on 2 cores: more threads than cores"
    assert ours.remedy.startswith("export OMP_NUM_THREADS=2:")


@pytest.mark.parametrize(
    ("said", "remedy"),
    [("1", "unset OMP_NUM_THREADS, or export OMP_NUM_THREADS=8"), (None, "export OMP_NUM_THREADS=8")],
)
def test_few_threads(monkeypatch: pytest.MonkeyPatch, said: str | None, remedy: str) -> None:
    ours = on(monkeypatch, cores=8, count=3, said=said)[1]
    assert ours.problem
    assert ours.value == "3 on 8 cores: most cores have nothing to do"
    assert ours.remedy == remedy


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("150000 100000", 2), ("50000 100000", 1), ("900000 100000", 4), ("max 100000", 4), ("", 4), (None, 4)],
)
def test_cores_of_a_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quota: str | None, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 5, 7}, raising=False)
    monkeypatch.setattr(machine, "CPU_QUOTA", tmp_path / "cpu.max")
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota)
    assert usable_cores() == cores


def test_where_no_cores_are_allotted_all_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(machine, "CPU_QUOTA", tmp_path / "none")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cores() == 6


def test_no_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(machine, "usable_cores", lambda: 3)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    found = {each.name: each for each in devices()}
    assert found["cpu"].value == "3 of 16 cores can be used"
    assert (found["cuda"].value, found["mps"].value) == ("none", "none")
    assert not any(each.problem for each in found.values())


def test_gpus_and_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: ((number + 1) * GIB, 24 * GIB))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "RTX")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 10 * GIB)
    found = {each.name: each.value for each in devices()}
    assert found["cuda:0"] == "RTX, 1.0 of 24.0 GiB free"
    assert found["cuda:1"] == "RTX, 2.0 of 24.0 GiB free"
    assert found["mps"] == "10.0 GiB"
    assert "cuda" not in found


def test_a_gpu_that_torch_does_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi" if name == "nvidia-smi" else None)
    (cuda,) = [each for each in devices() if each.name == "cuda"]
    assert cuda.problem
    assert not cuda.stops
    assert "nvidia-smi" in cuda.remedy


def test_kinds_of_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    save = Image.Image.save

    def without(image: Image.Image, file: io.BytesIO, name: str) -> None:
        if name == "AVIF":
            raise KeyError(name)  # as Pillow does for a format it does not know
        if name == "PNG":
            raise OSError("encoder zip not available")
        save(image, file, name)

    monkeypatch.setattr(Image.Image, "save", without)
    found = {each.name: each for each in decoders()}
    assert list(found) == ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"]
    assert found["JPEG"].value == "can be read"
    assert not found["JPEG"].problem
    for name, stops in (("PNG", True), ("AVIF", False)):
        assert found[name].value == "cannot be read"
        assert found[name].problem
        assert found[name].stops == stops
        assert "pillow" in found[name].remedy


@pytest.fixture
def caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("GETAM_CACHE", str(tmp_path / "maps"))
    (tmp_path / "hub" / "blobs").mkdir(parents=True)
    with (tmp_path / "hub" / "blobs" / "weights").open("wb") as file:
        file.truncate(GIB // 2)  # sparse: it takes no room
    (tmp_path / "hub" / "link").symlink_to(tmp_path / "hub" / "blobs" / "weights")
    return tmp_path


def free(monkeypatch: pytest.MonkeyPatch, gib: float) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=int(gib * GIB)))


def test_folders_their_size_and_room(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 30)
    weights, maps = folders()
    assert (weights.name, weights.value) == ("hub's weights", f"{caches / 'hub'}: 0.50 GiB, 30.0 GiB free")
    assert (maps.name, maps.value) == ("maps", f"{caches / 'maps'}: 0.00 GiB, 30.0 GiB free")
    assert not weights.problem
    assert not maps.problem


def test_little_room(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 1.5)
    weights, maps = folders()
    assert weights.problem
    assert not weights.stops
    assert "1.5 GiB free, which is little" in weights.value
    assert "HF_HUB_CACHE" in weights.remedy
    assert "GETAM_CACHE" in maps.remedy


def test_folders_that_cannot_be_written(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 30)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != caches)  # where `maps` would be made
    weights, maps = folders()
    assert not weights.problem
    assert maps.problem
    assert "nothing can be written there" in maps.value
    assert "GETAM_CACHE" in maps.remedy
