"""The trained network that comes with the package: where its file is. The model card is docs/model-card.md."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from getam.errors import InputError

FILE = "animals.safetensors"


def embedded_model() -> Path:
    """Path of the model that comes with the package.

    Raises:
        InputError: this build carries none.
    """
    path = Path(str(resources.files("getam"))) / "embedded" / FILE
    if not path.is_file():
        raise InputError("this build of getam carries no embedded model: give one with --model")
    return path
