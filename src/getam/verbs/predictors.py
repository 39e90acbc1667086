"""What `predict` asks of a network, whatever it is made of: photos in, label maps and confidences out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from getam.data.masks import LabelMap
from getam.exported.arrays import Floats
from getam.exported.onnx_segmenter import SUFFIX


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


def open_predictor(
    model: Path | None,
    *,
    scales: Sequence[int] | None,
    flip: bool,
    crf: bool,
    device: str,
    tile: int | None = None,
) -> Predictor:
    """The embedded model (None), one in a run folder or model file, or one that `getam export` wrote as ONNX.

    Only what the model needs is loaded: an ONNX file runs where torch is not installed, and within a second of being
    asked; torch takes several to load.

    Args:
        model: as of `getam predict`.
        scales: as of `getam predict`; None: as the network was trained to.
        flip, crf, device, tile: as of `getam predict`.

    Raises:
        InputError: no such model or device, one without masks, or tiles that are too small.
        WeightsError: the file is damaged, or not getam's.
    """
    network: Looking
    if model is not None and Path(model).suffix.lower() == SUFFIX:
        from getam.verbs.predict_onnx import OnnxPredictor

        network = OnnxPredictor(Path(model), scales=scales, flip=flip, crf=crf, device=device)
    else:
        from getam.verbs.predict_torch import TorchPredictor

        network = TorchPredictor(model, scales=scales, flip=flip, crf=crf, device=device)
    if tile is None:
        return network
    from getam.verbs.predict_tiles import TiledPredictor

    return TiledPredictor(network, tile, scales=network.scales, crf=crf)
