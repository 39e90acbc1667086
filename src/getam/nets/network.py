"""What every trained network is to the rest of the package, whatever it is made of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor, nn


class Network(nn.Module):
    """Photos in 0–255 → class scores; subclasses add what else they give.

    Attributes:
        kind: name of the subclass in model files, by which `getam.engine.model.load_model` builds it again.
        classes: class names without background.
        mean, std: (3,1,1) buffers, what photos are normalised with, in 0–255.
    """

    kind: ClassVar[str]
    classes: tuple[str, ...]
    mean: Tensor
    std: Tensor

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
