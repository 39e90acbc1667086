"""A segmenter as one program of torch.export: any number of photos of any size, nothing of getam in it."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from getam.errors import InputError
from getam.nets.segmenter import Segmenter

LEAST_GRID = (
    2  # patches along a side that torch.export can treat as any number; 0 and 1 it takes for constants
)
LARGEST_GRID = 512
LARGEST_BATCH = 4096
EXAMPLE_GRID = (10, 14)  # traced with: unequal sides that are no network's own


class LogitsAndScores(nn.Module):
    """`Segmenter` with a plain pair of tensors for its result."""

    def __init__(self, net: Segmenter) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Photos (N,3,H,W) in 0–255 → pixel logits (N,C+1,H,W) and class scores (N,C)."""
        found = self.net(images)
        return found.logits, found.scores


def program_of(net: Segmenter) -> ExportedProgram:
    """The network, in eval mode, as a program of its forward with the batch and both sides left open.

    Its sides are multiples of the patch. The network itself is left as it is.

    Raises:
        InputError: torch.export cannot follow the network's forward.
    """
    own = copy.deepcopy(net).cpu().float().to(memory_format=torch.contiguous_format)
    with_fixed_padding(own)
    module = LogitsAndScores(own).eval().requires_grad_(False)
    height, width = (net.patch * Dim(name, min=LEAST_GRID, max=LARGEST_GRID) for name in ("rows", "columns"))
    shapes = {"images": {0: Dim("photos", min=1, max=LARGEST_BATCH), 2: height, 3: width}}
    rows, columns = EXAMPLE_GRID
    images = torch.rand(2, 3, rows * net.patch, columns * net.patch) * 255
    try:
        with quiet():
            program = torch.export.export(module, (images,), dynamic_shapes=shapes, strict=False)
    except Exception as error:  # torch.export raises many types of its own
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"torch.export cannot follow the {net.kind} network ({reason}): train one on another backbone, or use the "
            "run folder itself"
        ) from error
    # of no use to anybody, and pickled; torch 2.6 refuses None by its public name
    program._example_inputs = None
    return program


def with_fixed_padding(net: nn.Module) -> None:
    """Give convolutions that pad by the size of their input, as TensorFlow's do, the padding it comes to.

    Every side is a multiple of the patch, hence of every stride s, and the padding max((k−1)·d + 1 − s, 0) whatever the
    side is: no formula of sizes for torch.export to carry through the whole network, which takes minutes.
    """
    for module in list(net.modules()):
        for name, part in list(module.named_children()):
            if isinstance(part, Conv2dSame):
                setattr(module, name, _padded(part))


def _padded(same: Any) -> nn.Module:
    high, wide = (
        max((kernel - 1) * dilation + 1 - stride, 0)
        for kernel, dilation, stride in zip(same.kernel_size, same.dilation, same.stride, strict=True)
    )
    sizes = (
        same.in_channels,
        same.out_channels,
        same.kernel_size,
        same.stride,
        0,
        same.dilation,
        same.groups,
    )
    conv = nn.Conv2d(*sizes, bias=same.bias is not None, device="meta")
    conv.weight, conv.bias = same.weight, same.bias
    return nn.Sequential(nn.ZeroPad2d((wide // 2, wide - wide // 2, high // 2, high - high // 2)), conv)


@contextmanager
def quiet() -> Iterator[None]:
    """Run the block without what exporters log: lines about passes, for those who write exporters."""
    names = ("torch.export", "torch.fx", "torch.onnx", "onnxscript", "onnx_ir")
    before: list[tuple[Any, int]] = [(each, each.level) for each in map(logging.getLogger, names)]
    for logger, _ in before:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in before:
            logger.setLevel(level)
