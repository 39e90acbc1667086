"""Photos of two colours that come with other noise each epoch, and the options of a small run on them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from getam.recipes.getam import GetamConfig

SIZES: dict[str, Any] = {"backbone": "small-hybrid", "size": 32, "channels": (8, 8, 8, 8), "width": 8}
CONFIG = GetamConfig(**SIZES, batch_size=2, steps=7, joint_from=0.5, pamr_iterations=1, warmup=0.0)


class Halves:
    """Photos whose left half is red or blue, and the tag that says so; every epoch adds its own noise."""

    def __init__(self, count: int = 5) -> None:
        self.count, self.epoch = count, 0

    def __len__(self) -> int:
        return self.count

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def name(self, index: int) -> str:
        return f"photo {index}"

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(1000 * self.epoch + index)
        image = torch.rand(3, 32, 32, generator=generator) * 60 + 90
        image[2 * (index % 2), :, :16] = 230
        tags = torch.nn.functional.one_hot(torch.tensor(index % 2), 2).float()
        return {"image": image, "tags": tags, "roi": torch.ones(32, 32, dtype=torch.bool)}
