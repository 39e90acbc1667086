"""A network as one file: its weights, its classes, and what it was built from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save

from getam.errors import InputError, WeightsError
from getam.nets.network import Network
from getam.whole_files import write_atomically

MODEL = "model.safetensors"  # its name in a run folder
SEGMENTER = "segmenter"  # what files hold that were written before there was another kind
FORMAT = "getam-1"  # key in the metadata of model files: what they hold, for `load_model`


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
    write_atomically(path, _in_order(save(tensors, metadata=about)))


def _in_order(file: bytes) -> bytes:
    """The same safetensors file with its metadata sorted: they come in any order, and equal networks are to be equal
    files."""
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight, as the library has them
    return len(text).to_bytes(8, "little") + text + file[8 + length :]


def read_metadata(path: Path) -> tuple[str, tuple[str, ...], dict[str, Any]]:
    """(kind of network, classes, config) of a model file written by `save_model`.

    Raises:
        InputError: it is a network that `getam export` wrote.
        WeightsError: the file is not one.
    """
    if path.suffix.lower() == ".onnx":
        raise InputError(
            f"{path} is an exported network, which gives masks and no maps: use it with getam predict, or give the run "
            "folder it was made from"
        )
    if path.suffix.lower() == ".pt2":
        raise InputError(
            f"{path} is a program of torch.export, for torch.export.load: give the run folder it was made from, or an "
            "ONNX file of it to getam predict"
        )
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
    except Exception as error:  # safetensors raises its own and OS errors
        raise WeightsError(f"{path} is not a readable safetensors file ({error})") from None
    if about.get("format") != FORMAT:
        raise WeightsError(
            f"{path} is not a model of getam (no {FORMAT} metadata): give a run folder or its {MODEL}"
        )
    try:
        classes, config = json.loads(about["classes"]), json.loads(about["config"])
    except (KeyError, ValueError):
        classes, config = None, None
    if not isinstance(config, dict) or not _are_names(classes):
        raise WeightsError(
            f"{path} does not say which classes and options its network has (its metadata is incomplete or damaged): "
            f"copy the {MODEL} of its run again"
        )
    return about.get("network", SEGMENTER), tuple(classes), config


def _are_names(classes: Any) -> bool:
    return isinstance(classes, list) and bool(classes) and all(isinstance(name, str) for name in classes)
