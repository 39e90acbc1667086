"""Grey maps beside photos, saliency or belief, and how they are brought to a photo's size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torchvision import tv_tensors

from getam.data.collection import Sample
from getam.data.photos import as_tensor, read_grey, read_photo
from getam.errors import InputError


def read_saliency(sample: Sample, size: tuple[int, int]) -> torch.Tensor:
    """The saliency map of a sample as a (1, h, w) uint8 tv_tensors.Image; it may be smaller than the photo.

    Raises `InputError` when its shape is not the shape of the photo, whose (height, width) is `size`.
    """
    if sample.saliency is None:
        raise InputError(f"photo {sample.photo} has no saliency map: add one named {sample.name}.png.")
    return read_map(sample.saliency, size, "saliency map")


def read_map(path: Path, size: tuple[int, int], what: str) -> torch.Tensor:
    """A grey map as a (1, h, w) uint8 tv_tensors.Image; it may be smaller than the photo.

    Raises `InputError`, which calls it `what`, when its shape is not the photo's, whose (height, width) is `size`.
    """
    return as_map(np.array(read_grey(path)), path, size, what)


def as_map(values: npt.NDArray[np.uint8], path: Path | str, size: tuple[int, int], what: str) -> torch.Tensor:
    """As `read_map`, of its values (h, w) uint8; `path` is for the message."""
    height, width = values.shape
    # one pixel of rounding when a model's smaller output was saved, two per cent for its own rounding
    if abs(width - height * size[1] / size[0]) > 1 + 0.02 * width:
        raise InputError(
            f"{what} {path} is {width}×{height} but its photo is {size[1]}×{size[0]} (width×height): save it in the"
            " shape of the photo."
        )
    return tv_tensors.Image(torch.from_numpy(values)[None])


def saliency_of(sample: Sample, size: tuple[int, int]) -> torch.Tensor:
    """The saliency map of a sample, brought to the photo's (height, width): (H, W) float32 in [0, 1].

    Raises `InputError` as `read_saliency`.
    """
    return fitted(read_saliency(sample, size), size)


def fitted(small: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """A map (1, h, w) uint8, brought to the photo's (height, width): (H, W) float32 in [0, 1]."""
    return F.interpolate(small.float()[None], size=size, mode="bilinear")[0, 0].clamp(0, 255) / 255


def read_photo_and_saliency(sample: Sample) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The photo (3, H, W) uint8 of a sample, and its saliency, (H, W) float32 in [0, 1] or None."""
    photo = as_tensor(read_photo(sample.photo))
    height, width = photo.shape[-2:]
    return photo, None if sample.saliency is None else saliency_of(sample, (height, width))
