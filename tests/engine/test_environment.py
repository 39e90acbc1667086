"""The record of versions and machine, and what it says where torch is not loaded or has a GPU."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import pytest
import timm

from getam.engine.environment import environment


def test_the_machine_is_recorded() -> None:
    found = environment()
    assert sorted(found) == ["cpus", "cuda", "machine", "python", "started", "versions"]
    assert found["python"] == platform.python_version()
    assert found["cpus"] == os.cpu_count()
    assert found["machine"] == platform.machine()
    assert found["versions"]["timm"] == timm.__version__
    assert set(found["versions"]) == {
        "getam", "torch", "torchvision", "timm", "numpy", "lightning-fabric", "onnxruntime",
    }  # fmt: skip
    assert abs((datetime.now(UTC) - datetime.fromisoformat(found["started"])).total_seconds()) < 5


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert set(environment()["versions"].values()) == {"not installed"}


@pytest.mark.parametrize(("loaded", "said"), [(None, None), (False, None), (True, "H9")])
def test_a_gpu_counts_where_torch_is_loaded_and_finds_it(
    loaded: bool | None, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = SimpleNamespace(is_available=lambda: loaded, get_device_name=lambda: "H9")
    there: Any = None if loaded is None else SimpleNamespace(cuda=cuda)
    monkeypatch.setitem(sys.modules, "torch", there)
    assert environment()["cuda"] == said
