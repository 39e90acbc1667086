"""Finds the material handed over beside the repository (golden tensors); who needs it skips without it."""

from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


def golden(name: str) -> dict[str, np.ndarray]:
    """Arrays of `<repository>/../shared/golden/<name>.npz`, or skip the calling test."""
    path = SHARED / "golden" / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"golden tensors {name}.npz are not beside the repository (looked in {SHARED})")
    with np.load(path) as arrays:
        return {key: arrays[key] for key in arrays.files}
