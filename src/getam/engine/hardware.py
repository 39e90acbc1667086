"""What a training runs on, in Fabric's words: accelerator and precision, and as how many processes it was started."""

from __future__ import annotations

import os
from dataclasses import dataclass

from getam.engine.device import AUTO, choose_device
from getam.engine.ranks import world
from getam.errors import InputError

ACCELERATORS = (AUTO, "cpu", "cuda", "mps")
SINGLE = "32-true"
PRECISIONS = (SINGLE, "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class Hardware:
    """Each process has one device.

    Attributes:
        accelerator: "auto" takes what is there, "cpu", "cuda" or "mps".
        precision: "32-true", or "bf16-mixed" and "16-mixed": the network runs in half precision where that is safe;
            weights, losses and maps stay float32.

    Raises:
        InputError: another word, or there is no such device here.
    """

    accelerator: str = AUTO
    precision: str = SINGLE

    def __post_init__(self) -> None:
        if self.accelerator not in ACCELERATORS:
            raise InputError(
                f"--accelerator {self.accelerator} is none: choose one of {', '.join(ACCELERATORS)}"
            )
        if self.precision not in PRECISIONS:
            raise InputError(
                f"--precision {self.precision} is not for training, where weights and maps are float32: choose one of "
                f"{', '.join(PRECISIONS)}"
            )
        if self.accelerator not in (AUTO, "cpu"):
            try:
                choose_device(self.accelerator)
            except InputError:
                raise InputError(
                    f"--accelerator {self.accelerator}: torch finds no such device on this machine; choose auto or cpu"
                ) from None

    @property
    def kind(self) -> str:
        """The accelerator itself: what "auto" comes to on this machine."""
        import torch

        if self.accelerator != AUTO:
            return self.accelerator
        if torch.backends.mps.is_available():
            return "mps"
        return "cuda" if torch.cuda.is_available() else "cpu"


class NotLaunchedError(InputError):
    """Several processes are wanted and this is one; the command line starts them, a program of somebody's is told how.

    Attributes:
        processes: on this machine.
    """

    def __init__(self, message: str, processes: int) -> None:
        super().__init__(message)
        self.processes = processes


def require_processes(hardware: Hardware, devices: int | None, num_nodes: int | None) -> None:
    """Compare what is asked for with what was started.

    Args:
        hardware: of each process.
        devices: processes on this machine; None: as many as were started.
        num_nodes: machines; None: as many as were started.

    Raises:
        NotLaunchedError: several on this machine, and nothing was started.
        InputError: below 1, more than there are devices, several machines without a launcher, or other numbers than
            the launcher's.
    """
    for name, number in (("--devices", devices), ("--num-nodes", num_nodes)):
        if number is not None and number < 1:
            raise InputError(f"{name} {number}: give 1 or more")
    together = world()
    here = int(os.environ.get("LOCAL_WORLD_SIZE", together)) if together > 1 else 1
    wanted, machines = devices or here, num_nodes or together // here
    if together > 1:
        if (wanted, machines) != (here, together // here):
            raise InputError(
                f"{wanted} devices on {machines} machines were asked for, and the launcher has started {here} "
                f"processes on {together // here}: leave --devices and --num-nodes out, or start as many"
            )
        return
    if machines > 1:
        raise InputError(
            f"--num-nodes {machines} has to be started on every machine: python -m torch.distributed.run --nnodes "
            f"{machines} --nproc-per-node {wanted} --rdzv-backend c10d --rdzv-endpoint HOST:29500 -m getam train …"
        )
    there = _devices(hardware.kind)
    if there is not None and wanted > there:
        raise InputError(f"--devices {wanted}: there are {there} {hardware.kind} devices here, one a process")
    if wanted > 1:
        raise NotLaunchedError(
            f"{wanted} processes are wanted and this is one: start them with python -m torch.distributed.run "
            f"--standalone --nproc-per-node {wanted} PROGRAM.py, or use the command getam train --devices {wanted}",
            wanted,
        )


def _devices(kind: str) -> int | None:
    """How many processes can have a device of their own; None: the CPU is shared by any number."""
    import torch

    if kind == "cpu":
        return None
    return torch.cuda.device_count() if kind == "cuda" else 1
