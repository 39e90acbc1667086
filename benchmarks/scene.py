"""What every measurement shares: its sizes, the models with random weights, real photos, the classes asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import skimage.data
import skimage.transform
import timm
import torch
from torch import Tensor

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")  # scikit-image carries them


@dataclass(frozen=True)
class Scale:
    """How large things are: the issue's sizes, or sizes that only show that everything runs."""

    backbone: str = "vit_base_patch16_224"
    side: int = 256
    memory_sides: tuple[int, ...] = (512, 1024)
    channels: tuple[int, int, int, int] = (96, 192, 384, 768)
    width: int = 256
    photo: tuple[int, int] = (375, 500)
    dense_side: int = 256  # halved by the dense energy
    fit_photos: tuple[tuple[int, int], ...] = ((120, 160), (240, 320), (375, 500), (480, 640), (720, 960))
    fit_channels: tuple[int, ...] = (3, 6, 12, 21, 42)
    folder: int = 12  # photos of the smaller folder to label; the other has 5 times as many
    repeats: int = 5


FULL = Scale()
SMOKE = Scale(
    "vit_tiny_patch16_224", 64, (64, 96), (8, 8, 16, 16), 16, (48, 64), 64, ((24, 32), (36, 48), (48, 64)),
    (3, 6, 12), 2, 1,
)  # fmt: skip


def vit(scale: Scale, side: int | None = None) -> Any:
    """A timm ViT for photos of that side, in eval mode; random weights, head included: time does not depend on them."""
    torch.manual_seed(0)
    model: Any = timm.create_model(scale.backbone, img_size=side or scale.side, num_classes=20).eval()
    torch.nn.init.normal_(model.head.weight, std=0.02)
    return model


def normal_photos(batch: int, side: int) -> Tensor:
    """(B,3,side,side), normal values: what a timm model sees."""
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0))


def photo(name: str, height: int, width: int) -> Tensor:
    """(3,height,width) float32 in 0–255."""
    resized = skimage.transform.resize(
        getattr(skimage.data, name)(), (height, width), anti_aliasing=True, preserve_range=True
    )
    return torch.from_numpy(resized).float().permute(2, 0, 1)


def crops(side: int) -> Tensor:
    """(4,3,side,side) in 0–255: a training batch."""
    return torch.stack([photo(name, side, side) for name in PHOTOS])


def class_lists(batch: int, count: int) -> list[list[int]]:
    """`count` classes per photo, all different."""
    return [[(3 * b + 5 * k) % 20 for k in range(count)] for b in range(batch)]
