"""Which weights a model file has, whatever else it says: one hash of its tensors."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from getam.engine.model_file import MODEL
from getam.errors import WeightsError


def weights_hash(path: Path) -> str:
    """sha256 of the tensors of a model file, or of the model file in a run folder: names, types, shapes and bytes.

    Equal weights have equal hashes, whatever else the file says and in whatever order. Files that are no safetensors
    raise `WeightsError`.
    """
    file = path / MODEL if path.is_dir() else path
    digest = hashlib.sha256()
    try:
        with safe_open(file, framework="pt") as tensors:
            for name in sorted(tensors.keys()):
                tensor = tensors.get_tensor(name)
                digest.update(f"{name!r} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
                digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    except SafetensorError as error:
        raise WeightsError(f"{file} is not a readable safetensors file ({error})") from None
    return digest.hexdigest()
