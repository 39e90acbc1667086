"""One crop of a photo, and of what lies over it, drawn at random.

The augmentation is GETAM's (arXiv 2112.02841): the photo's long side is drawn around the crop, then a random crop and a
horizontal flip; image, mask and grey maps move together as torchvision tv_tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as v2f

from getam.label_numbers import DEEP_IGNORE, IGNORE

ZOOM = (0.9, 1 / 0.875)
"""Shortest and longest long side of a photo, as multiples of the crop (GETAM, training details)."""

PAD_COLOUR = (123.675, 116.28, 103.53)
"""Mean colour of ImageNet in 0–255: zero after the usual normalisation."""

JITTER = 0.2
"""Largest relative change of brightness, contrast and saturation with colour jitter; ours, a mild one."""


@dataclass(frozen=True)
class Augmentation:
    """What was drawn for one crop; (height, width) or (y, x) in pixels of the resized photo."""

    long_side: int
    offset: tuple[float, float]
    """Where the crop lies in the room it has, each 0–1: 0 at the top or left, 1 at the bottom or right."""
    flip: bool
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0


def draw_augmentation(
    size: tuple[int, int],
    generator: torch.Generator,
    *,
    zoom: tuple[float, float] = ZOOM,
    colour_jitter: bool = False,
) -> Augmentation:
    """Draw the augmentation of one crop of `size` (height, width); same generator state, same crop."""
    low, high = (factor * max(size) for factor in zoom)
    drawn = torch.rand(7, generator=generator).tolist()
    gains = [1.0 + JITTER * (2 * value - 1) for value in drawn[4:]] if colour_jitter else [1.0, 1.0, 1.0]
    return Augmentation(round(low + (high - low) * drawn[0]), (drawn[1], drawn[2]), drawn[3] < 0.5, *gains)


def crop_generator(seed: int, epoch: int, index: int) -> torch.Generator:
    """The random numbers of one photo in one epoch, whichever worker asks and wherever a run was resumed."""
    mixed = np.random.SeedSequence([seed, epoch, index]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed) >> 1)


def with_long_side(size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """(height, width) scaled so that the longer one is `long_side`; none below 1.

    >>> with_long_side((240, 320), 160)
    (120, 160)
    """
    scale = long_side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def augment(
    layers: dict[str, torch.Tensor], photo_size: tuple[int, int], size: tuple[int, int], drawn: Augmentation
) -> dict[str, torch.Tensor]:
    """Resize, crop or pad, flip and recolour: one geometry for all layers.

    Args:
        layers: `image` (3, h, w) uint8 tv_tensors.Image and, if wanted, `saliency` and `belief` (1, h, w) uint8
            tv_tensors.Image and `mask` (1, h, w) uint8 or int32 tv_tensors.Mask; each shows the whole photo.
        photo_size: (height, width) of the whole photo.
        size: (height, width) of the crop.
        drawn: From `draw_augmentation`.

    Returns the layers as float32 (masks as they are) of `size`, and `roi` (1, H, W) uint8, 0 in the padding.
    """
    target = with_long_side(photo_size, drawn.long_side)
    resized: dict[str, torch.Tensor] = {"roi": tv_tensors.Mask(torch.ones(1, *target, dtype=torch.uint8))}
    for name, layer in layers.items():
        if isinstance(layer, tv_tensors.Mask):
            # torchvision resizes masks with "nearest", half a pixel off the image's bilinear grid
            exact = v2f.resize_image(
                layer.as_subclass(torch.Tensor),
                list(target),
                interpolation=v2.InterpolationMode.NEAREST_EXACT,
            )
            resized[name] = tv_tensors.Mask(exact)
        else:
            resized[name] = tv_tensors.wrap(
                v2f.resize(layer, list(target), antialias=True).float(), like=layer
            )
    resized["image"] = _recolour(resized["image"], drawn)

    # the room between photo and crop, negative where the photo is larger; offset says how it is shared out
    spare = (size[0] - target[0], size[1] - target[1])
    top, left = (round(room * share) for room, share in zip(spare, drawn.offset, strict=True))
    bottom, right = spare[0] - top, spare[1] - left
    fills: dict[str, list[float] | float] = {
        "image": list(PAD_COLOUR),
        "mask": float(DEEP_IGNORE if "mask" in layers and layers["mask"].dtype == torch.int32 else IGNORE),
        "saliency": 0.0,
        "belief": 0.0,
        "roi": 0.0,
    }
    moved: dict[str, torch.Tensor] = {}
    for name, layer in resized.items():
        height, width = min(size[0], target[0]), min(size[1], target[1])
        part = v2f.crop(layer, max(0, -top), max(0, -left), height, width)
        edges = [max(0, left), max(0, top), max(0, right), max(0, bottom)]
        if any(edges):
            part = v2f.pad(part, edges, fill=fills[name])
        moved[name] = v2f.horizontal_flip(part) if drawn.flip else part
    return moved


def _recolour(image: torch.Tensor, drawn: Augmentation) -> torch.Tensor:
    """Brightness, contrast and saturation of a float32 image in 0–255."""
    if (drawn.brightness, drawn.contrast, drawn.saturation) == (1.0, 1.0, 1.0):
        return image
    image = image / 255  # torchvision takes float images to be in 0–1
    image = v2f.adjust_brightness(image, drawn.brightness)
    image = v2f.adjust_contrast(image, drawn.contrast)
    return v2f.adjust_saturation(image, drawn.saturation) * 255
