"""A model file for strangers: the same tensors, and no path of the machine it was trained on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from safetensors import safe_open
from safetensors.torch import save


def portable(config: Any) -> Any:
    """A configuration with the names of files in place of their absolute paths.

    >>> portable({"weights": "/home/me/vit.safetensors", "steps": 3, "tags": ["C:\\\\a\\\\b.csv"]})
    {'weights': 'vit.safetensors', 'steps': 3, 'tags': ['b.csv']}
    """
    if isinstance(config, Mapping):
        return {key: portable(value) for key, value in config.items()}
    if isinstance(config, list):
        return [portable(value) for value in config]
    if isinstance(config, str):
        for kind in (PurePosixPath, PureWindowsPath):
            if kind(config).is_absolute():
                return kind(config).name
    return config


def portable_model(file: Path) -> bytes:
    """The content of a model file, with `portable` applied to its configuration."""
    with safe_open(file, framework="pt") as opened:
        about = dict(opened.metadata())
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
    about["config"] = json.dumps(portable(json.loads(about["config"])))
    return save(tensors, metadata=about)
