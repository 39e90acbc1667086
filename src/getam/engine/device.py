"""Which device a network runs on: what `--device` says, in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from getam.engine.ranks import local_rank, world
from getam.errors import InputError

if TYPE_CHECKING:
    import torch

AUTO = "auto"
KINDS = ("cpu", "cuda", "mps", "xpu")


def choose_device(name: str = AUTO) -> torch.device:
    """The device of that name.

    Args:
        name: "cpu", "cuda", "cuda:1", "mps" or "xpu"; "auto" is the first CUDA device, or the CPU where there is none;
            of several processes that torchrun starts on a machine each takes the next CUDA device. (MPS
            has to be asked for: it lacks some of the operations that maps and masks are made with.)

    Raises:
        InputError: no such device, or none of that kind here.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    import torch  # here, for verbs that may do without have the option too

    if name == AUTO:
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return (
            torch.device("cuda", local_rank() % torch.cuda.device_count())
            if world() > 1
            else torch.device("cuda")
        )
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in KINDS:
        raise InputError(
            f"--device {name} is no device: choose auto, {', '.join(KINDS)}, or one such as cuda:1"
        )
    count = _count(device.type)
    if not count:
        raise InputError(
            f"--device {name}: torch finds no {device.type} device on this machine; choose auto or cpu"
        )
    if device.index is not None and device.index >= count:
        raise InputError(f"--device {name}: there are {count} {device.type} devices here, counted from 0")
    return device


def _count(kind: str) -> int:
    """How many devices of a kind torch can use."""
    import torch

    if kind == "cpu":
        return 1
    backend: Any = getattr(torch, kind, None)
    available = (
        torch.backends.mps.is_available() if kind == "mps" else backend is not None and backend.is_available()
    )
    return int(backend.device_count()) if available else 0
