"""The folder of a run: configuration, environment, metrics, weights, and what resuming needs."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save

from getam.data.masks import write_atomically
from getam.errors import InputError, WeightsError
from getam.nets.network import Network

MODEL, STATE, CONFIG, METRICS, ENVIRONMENT = (
    "model.safetensors", "state.pt", "config.yaml", "metrics.jsonl", "env.json",
)  # fmt: skip
SEGMENTER = "segmenter"  # what files hold that were written before there was another kind
FORMAT = "getam-1"  # key in the metadata of model files: what they hold, for `load_model`


class RunFolder:
    """Paths of a run and the few writes that must never be half done."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def open(self, config: Mapping[str, Any]) -> bool:
        """Create the folder, or check that it holds an unfinished run of the same configuration.

        Returns:
            True when there is something to continue.

        Raises:
            InputError: the path is a file, a folder that is not a run, or a run of another configuration that has
                logged or saved something.
        """
        if self.path.is_file():
            raise InputError(f"{self.path} is a file: give a folder for the run with --out")
        if (self.path / CONFIG).is_file():
            before = self._config()
            now = yaml.safe_load(yaml.safe_dump(dict(config)))
            changed = [k for k in sorted({*before, *now}) if before.get(k) != now.get(k)]
            if changed and {file.name for file in self.path.iterdir()} == {CONFIG, ENVIRONMENT}:
                # The run stopped before anything was worth keeping, perhaps on an option that was wrong.
                write_atomically(self.path / CONFIG, yaml.safe_dump(dict(config), sort_keys=False).encode())
                return False
            if changed:
                key = changed[0]
                raise InputError(
                    f"{self.path} holds a run with {key}={before.get(key)!r}, now {key}={now.get(key)!r} was asked: "
                    "give another --out, or the same options to continue it"
                )
            return (self.path / STATE).is_file()
        if self.path.is_dir() and any(self.path.iterdir()):
            raise InputError(f"{self.path} is not empty and holds no run: give a new folder with --out")
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / CONFIG, yaml.safe_dump(dict(config), sort_keys=False).encode())
        write_atomically(self.path / ENVIRONMENT, json.dumps(environment(), indent=1).encode())
        return False

    def _config(self) -> dict[str, Any]:
        """What config.yaml says, checked to be a run's."""
        try:
            before = yaml.safe_load((self.path / CONFIG).read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            before = None
        if not isinstance(before, dict):
            raise InputError(
                f"{self.path / CONFIG} is not the configuration of a run: give a new folder with --out"
            )
        return before

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        with (self.path / METRICS).open("a") as file:
            file.write(json.dumps(dict(record)) + "\n")

    def rewind(self, step: int) -> None:
        """Forget what was logged after `step`: a run that was killed continues from there and logs it again."""
        if not (path := self.path / METRICS).is_file():
            return
        lines = path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith(b"\n") and json.loads(line)["step"] <= step]
        if kept != lines:
            write_atomically(path, b"".join(kept))

    def save(self, net: Network, config: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Write the model file, then all that continues the run, its weights too, as one file; by atomic renames."""
        save_model(self.path / MODEL, net, config)
        temporary = self.path / f".{STATE}.tmp"
        torch.save({**state, "model": net.state_dict()}, temporary)
        os.replace(temporary, self.path / STATE)

    def state(self) -> dict[str, Any]:
        """What `save` was given, and the weights as "model", on the CPU."""
        return torch.load(self.path / STATE, map_location="cpu", weights_only=True)


def save_model(path: Path, net: Network, config: Mapping[str, Any], *, half: bool = False) -> None:
    """One safetensors file that `load_model` can use alone: weights, classes and architecture.

    Args:
        path: where to write.
        net: the network.
        config: the run's configuration (backbone, decoder sizes and all else, kept as JSON metadata).
        half: store floating-point weights as float16.
    """
    tensors = {n: t.detach().cpu().contiguous() for n, t in net.state_dict().items()}
    if half:
        tensors = {n: t.half() if t.is_floating_point() else t for n, t in tensors.items()}
    about = {"format": FORMAT, "network": net.kind, "classes": json.dumps(list(net.classes)),
             "config": json.dumps(dict(config))}  # fmt: skip
    write_atomically(path, save(tensors, metadata=about))


def read_metadata(path: Path) -> tuple[str, tuple[str, ...], dict[str, Any]]:
    """(kind of network, classes, config) of a model file written by `save_model`.

    Raises:
        WeightsError: the file is not one.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
    except Exception as error:  # safetensors raises its own and OS errors
        raise WeightsError(f"{path} is not a readable safetensors file ({error})") from None
    if about.get("format") != FORMAT:
        raise WeightsError(
            f"{path} is not a model of getam (no {FORMAT} metadata): give a run folder or its {MODEL}"
        )
    kind = about.get("network", SEGMENTER)
    return kind, tuple(json.loads(about["classes"])), json.loads(about["config"])


def environment() -> dict[str, Any]:
    """Versions and machine, for the record."""
    names = ("getam", "torch", "torchvision", "timm", "numpy", "lightning-fabric")
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": versions,
    }
