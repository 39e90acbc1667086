"""Where verbs put their results: nothing overwritten silently, classes and protocol beside the masks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from getam.data.masks import CLASSES_FILE, read_classes, write_classes, write_mask
from getam.engine.runfolder import MODEL, environment
from getam.errors import InputError, WeightsError

PROTOCOL = "protocol.jsonl"


class OutputFolder:
    """A folder of results, checked before the work starts.

    Args:
        out: the folder; made when needed.
        files: every file the verb is going to write, relative to it.
        overwrite: allow files that exist.

    Raises:
        InputError: `out` is a file, two results would have one name, or a result exists and `overwrite` is off.
    """

    def __init__(self, out: Path | str, files: Iterable[str], *, overwrite: bool) -> None:
        self.path = Path(out)
        if self.path.is_file():
            raise InputError(f"{self.path} is a file: give a folder with --out")
        seen: set[str] = set()
        for file in files:
            if file in seen:
                raise InputError(
                    f"two results would both be written to {self.path / file}: rename one of the photos"
                )
            seen.add(file)
            if not overwrite and (self.path / file).exists():
                raise InputError(
                    f"{self.path / file} exists: choose another --out, or replace it with --overwrite"
                )
        self.path.mkdir(parents=True, exist_ok=True)

    def classes(self, classes: Sequence[str]) -> None:
        """Write classes.txt, or check that the one there says the same."""
        if (self.path / CLASSES_FILE).is_file():
            before = read_classes(self.path)
            if before != tuple(classes):
                raise InputError(
                    f"{self.path} holds masks of the classes {', '.join(before)}, not {', '.join(classes)}: "
                    "choose another --out"
                )
            return
        write_classes(self.path, classes)

    def mask(self, name: str, label: Tensor) -> None:
        """Write one (H,W) uint8 label map as `name`.png."""
        path = self.path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mask(path, label.cpu().numpy().astype(np.uint8))

    def protocol(self, verb: str, options: Mapping[str, Any], **facts: Any) -> None:
        """Append what was done, with which options and versions, as one line."""
        plain = {k: str(v) if isinstance(v, Path) else v for k, v in options.items()}
        record = {"verb": verb, "finished": datetime.now(UTC).isoformat(timespec="seconds"), **facts}
        with (self.path / PROTOCOL).open("a") as file:
            file.write(
                json.dumps({**record, "options": plain, "environment": environment()}, default=str) + "\n"
            )


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
