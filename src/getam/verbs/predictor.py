"""What `predict` asks of a network, whatever it is made of: photos in, label maps and confidences out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from PIL import Image

from getam.data.masks import LabelMap
from getam.exported.arrays import Floats


class Predictor(Protocol):
    """A network with its options.

    Attributes:
        classes: names without background.
        weights_sha256: of the file or the tensors it was read from.
        scales: long sides at which it sees photos.
    """

    classes: tuple[str, ...]
    weights_sha256: str
    scales: tuple[int, ...]

    def seen_side(self, long_side: int) -> int:
        """Long side that a photo of this one has left at least when it comes to `prepare`; see `read_photo_near`."""

    def prepare(self, photo: Image.Image, size: tuple[int, int]) -> Any:
        """A photo of that (height, width), or a smaller copy, as `masks` takes it; called in threads beside."""

    def masks(
        self, photo: Any, size: tuple[int, int], present: Sequence[int] | None = None
    ) -> tuple[LabelMap, dict[str, float]]:
        """The label map (H,W) of a prepared photo, and class name → how sure it is of its pixels.

        `present` are indices of the classes that are in the photo, where that is known: no other wins a pixel.
        """


class Looking(Predictor, Protocol):
    """A predictor that also shows its parts.

    Attributes:
        patch: both sides of what the network sees are multiples of it.
    """

    patch: int

    def logits(self, photos: Sequence[Image.Image]) -> Iterator[Floats]:
        """Mean logits (C+1,H,W) over scales and flips, of RGB photos of one size."""

    def sharpened(self, photo: Image.Image, beliefs: Floats) -> Floats:
        """Probabilities (C+1,H,W) of an RGB photo after a dense CRF."""
