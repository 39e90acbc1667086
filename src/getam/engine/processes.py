"""Several processes at one training, as torchrun or SLURM start them: which one this is, and what they agree on.

Every process takes its share of each batch; gradients, and what batch norms keep, are averaged after each backward pass
by our own hands: torch's wrapper wants every parameter to take part in every loss, and recipes run parts of a network
without the whole. The first process alone writes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from getam.engine.hardware import SINGLE, Hardware
from getam.engine.ranks import world
from getam.errors import InputError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

ANY = Hardware()  # whatever accelerator there is, float32


def launched(hardware: Hardware = ANY) -> Fabric:
    """This process's device, or its one of several where a launcher has started several; may be called again.

    Under torchrun the processes of a machine take its accelerators in turn, or share its CPU (gloo). The first call
    decides how they talk to each other.
    """
    from lightning_fabric import Fabric  # takes a second to load, and every verb asks for its rank

    if world() > 1:
        return _one_of_several(hardware)
    return Fabric(accelerator=hardware.accelerator, devices=1, plugins=_plugins(hardware))


@cache
def _one_of_several(hardware: Hardware) -> Fabric:
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    class Unwrapped(DDPStrategy):
        """Processes that know each other, and a network that is left as it is."""

        def setup_module(self, module: nn.Module) -> Any:
            return module

    here = int(os.environ.get("LOCAL_WORLD_SIZE", world()))
    fabric = Fabric(
        accelerator=hardware.accelerator, devices=here, num_nodes=world() // here, strategy=Unwrapped(),
        plugins=_plugins(hardware),
    )  # fmt: skip
    fabric.launch()
    return fabric


def _plugins(hardware: Hardware) -> list[Any]:
    if hardware.precision == SINGLE:
        return []
    from getam.engine.precision import Autocast

    return [Autocast(hardware.precision, hardware.kind)]


def barrier() -> None:
    """Wait until all processes are here; nothing where there is one.

    Raises:
        InputError: another process has ended.
    """
    if world() > 1:
        _mean(torch.zeros(1))


def mean_of(numbers: Mapping[str, float]) -> dict[str, float]:
    """The mean over processes of each number; the same names everywhere, in one order. NaN of one is NaN for all."""
    if world() == 1:
        return dict(numbers)
    values = torch.tensor(list(numbers.values()), dtype=torch.float64)
    return dict(zip(numbers, _mean(values).tolist(), strict=True))


def mean_count(count: Tensor) -> Tensor:
    """The mean over processes of a count, as `losses.counts` wants it, on the same device."""
    return count if world() == 1 else _mean(count.double()).to(count.device)


def any_of(found: bool) -> bool:
    """Whether something was found in any of the processes."""
    return mean_of({"found": float(found)})["found"] > 0


def average_gradients(net: nn.Module) -> None:
    """Set each gradient to its mean over processes, in place; a parameter that has none anywhere keeps none.

    Where the losses are means over photos and every process has as many, these are the gradients of all photos.
    """
    if world() == 1:
        return
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    has = torch.tensor([float(parameter.grad is not None) for parameter in parameters])
    some = _mean(has) > 0
    moved = [parameter for parameter, its in zip(parameters, some.tolist()) if its]
    for parameter in moved:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    _average([parameter.grad for parameter in moved if parameter.grad is not None])


def average_buffers(net: nn.Module) -> None:
    """Set the floating-point buffers of a network, such as running means of batch norms, to their means, in place."""
    if world() > 1:
        _average([buffer for buffer in net.buffers() if buffer.is_floating_point()])


@torch.no_grad()
def _average(tensors: Iterable[Tensor]) -> None:
    """One exchange for each kind of number."""
    tensors = list(tensors)
    for dtype in {tensor.dtype for tensor in tensors}:
        alike = [tensor for tensor in tensors if tensor.dtype == dtype]
        mean = _mean(torch.cat([tensor.flatten() for tensor in alike]))
        for tensor, part in zip(alike, mean.split([tensor.numel() for tensor in alike]), strict=True):
            tensor.copy_(part.view_as(tensor))


def _mean(values: Tensor) -> Tensor:
    """The mean over processes, where they exchange: on the GPU of each, or the CPU."""
    if not torch.distributed.is_initialized():
        launched()
    place = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    mean = values.detach().to(place, copy=True)
    try:
        torch.distributed.all_reduce(mean)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = re.sub(r"^\[\S+\]", "", str(error).strip().splitlines()[0]).strip().partition(". ")[0]
        raise InputError(
            f"another of the {world()} processes of this training has ended ({reason}): see what it said, then give "
            "the same command again, with as many processes as you like; it goes on from what was saved last"
        ) from error
    return mean / world()
