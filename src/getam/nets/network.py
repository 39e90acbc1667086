"""What every trained network is to the rest of the package, whatever it is made of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """Photos in 0–255 → class scores; subclasses add what else they give.

    Args:
        classes: class names without background.
        mean, std: what photos are normalised with, in 0–255.

    Attributes:
        kind: name of the subclass in model files, by which `getam.engine.model.load_model` builds it again.
        classes: class names without background.
        mean, std: (3,1,1) buffers.
    """

    kind: ClassVar[str]
    classes: tuple[str, ...]
    mean: Tensor
    std: Tensor

    def __init__(self, classes: Sequence[str], mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def normalised(self, images: Tensor) -> Tensor:
        """Photos (B,3,H,W) in 0–255 as the backbone expects them."""
        return (images - self.mean) / self.std

    @property
    @abstractmethod
    def patch(self) -> int:
        """Photo sides should be multiples of this many pixels: the patch of a transformer, the stride of a CNN."""

    @abstractmethod
    def pretrained_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that come from the backbone's weights file; all others start fresh."""

    @abstractmethod
    def class_scores(self, images: Tensor) -> Tensor:
        """Photos (B,3,H,W) in 0–255 → class logits (B,C), by the shortest way: all that maps need."""

    def log_odds(self, scores: Tensor) -> Tensor:
        """Class logits (B,C) → those by which photos can be compared, above 0 where a class is more likely than not.

        They are themselves that, unless a network was only taught to compare the classes of one photo.
        """
        return scores


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Run the block with `net` in eval mode; then it is in the mode it was in, all of it."""
    training = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(training)
