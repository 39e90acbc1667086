"""A written file against the network it was made from, on photos, at several sizes and in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.errors import WeightsError
from getam.exported.onnx_segmenter import OnnxSegmenter
from getam.nets.segmenter import Segmenter
from getam.photo_size import fit_patches

LARGEST_DIFFERENCE = 1e-3
"""Between a logit or score of the file and of the network in torch: more is refused."""
LONG_SIDES = (192, 320)

Run = Callable[[Tensor], Sequence[Tensor]]  # photos (N,3,H,W) -> logits and scores


@dataclass(frozen=True)
class Found:
    """What a comparison found: number of photos, of forwards of different sizes, and the largest difference."""

    photos: int
    sizes: int
    difference: float


def compare(net: Segmenter, run: Run, photos: Sequence[Tensor]) -> Found:
    """The largest difference of logits and scores between a network in eval mode and its file.

    Args:
        net: the network.
        run: of the file.
        photos: (3,H,W) in 0–255, at least one.
    """
    largest, sizes = 0.0, set[tuple[int, ...]]()
    device = next(net.parameters()).device
    for images in inputs(photos, net.patch):
        with torch.no_grad():
            own = net(images.to(device))
        sizes.add(tuple(images.shape))
        for here, there in zip((own.logits, own.scores), run(images), strict=True):
            gap = (here.cpu() - there).abs().max()
            largest = max(largest, float(gap) if gap.isfinite() else float("inf"))
    return Found(len(photos), len(sizes), largest)


def require_close(found: Found) -> None:
    """Raises `WeightsError` where a file is further from its network than `LARGEST_DIFFERENCE`."""
    if not found.difference <= LARGEST_DIFFERENCE:
        raise WeightsError(
            f"the exported network differs from its original by up to {found.difference:.2g} on {found.photos} photos, "
            f"more than {LARGEST_DIFFERENCE:g}: no file was left; try the other --to, or another version of torch"
        )


def inputs(photos: Sequence[Tensor], patch: int) -> Iterator[Tensor]:
    """Each photo at each of `LONG_SIDES`; the first one also with its mirror image as a batch, and upside as across."""
    for number, photo in enumerate(photos):
        image = photo.float()[None]
        for long_side in LONG_SIDES:
            size = fit_patches(photo.shape[-2], photo.shape[-1], long_side, patch)
            resized = F.interpolate(image, size=size, mode="bilinear", antialias=True).clamp(0, 255)
            yield resized
            if number == 0:
                yield torch.cat([resized, resized.flip(-1)])
                yield resized.transpose(-1, -2).contiguous()


def run_onnx(path: Path) -> Run:
    """An ONNX file by onnxruntime."""
    segmenter = OnnxSegmenter(path)
    return lambda images: [torch.from_numpy(found) for found in segmenter(images.numpy())]


def run_torch(path: Path) -> Run:
    """A .pt2 file by torch."""
    with path.open("rb") as file:
        module: Any = torch.export.load(file).module()
    return module
