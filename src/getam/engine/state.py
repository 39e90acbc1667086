"""What continues a run: weights, optimiser, step and random numbers; the last two of them, in case one is damaged."""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from getam.errors import InputError
from getam.whole_files import replacing

STATE, STATE_BEFORE = "state.pt", "state-before.pt"

logger = logging.getLogger(__name__)


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write the state of a run; the one before stays beside it. A crash leaves at least one of them whole."""
    with replacing(folder / STATE) as file:
        torch.save(dict(state), file)
        if (folder / STATE).is_file():
            os.replace(folder / STATE, folder / STATE_BEFORE)


def read_state(folder: Path) -> dict[str, Any] | None:
    """The last state, on the CPU; the one before, with a warning, where the last is damaged; None: there is none.

    Raises:
        InputError: there are states, and all are damaged.
    """
    found = [folder / name for name in (STATE, STATE_BEFORE) if (folder / name).is_file()]
    for number, file in enumerate(found):
        state = _read(file)
        if state is not None:
            return state
        if number + 1 < len(found):
            logger.warning("%s is damaged: the run continues from the state saved before it", file)
    if found:
        raise InputError(
            f"{found[0]} is damaged, and no state before it is whole: the run cannot be continued; start it anew with "
            "another --out, or delete the folder"
        )
    return None


def _read(file: Path) -> dict[str, Any] | None:
    """None for a damaged file. torch writes a CRC-32 of every tensor but does not look at it."""
    try:
        with zipfile.ZipFile(file) as archive:
            if archive.testzip() is not None:
                return None
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (MemoryError, PermissionError):
        raise
    except Exception:  # broken archives raise many types
        return None
    return state if isinstance(state, dict) and {"model", "step"} <= state.keys() else None


def random_state() -> dict[str, Any]:
    """State of every generator a step may draw from: torch's of the CPU and of each accelerator.

    Python's and NumPy's global generators are not among them: nothing here draws from these.
    """
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def restore_random(state: Mapping[str, Any]) -> None:
    """Set the generators of the devices that are here as `random_state` found them."""
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available():
        for device, generator in zip(range(torch.cuda.device_count()), state.get("cuda", ())):
            torch.cuda.set_rng_state(generator, device)
    if torch.backends.mps.is_available() and "mps" in state:
        torch.mps.set_rng_state(state["mps"])
