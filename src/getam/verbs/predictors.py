"""What `predict` asks of a network, whatever it is made of: photos in, label maps and confidences out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from getam.data.masks import LabelMap
from getam.exported.onnx_segmenter import SUFFIX


class Predictor(Protocol):
    """A network with its options.

    Attributes:
        classes: names without background.
        weights_sha256: of the file or the tensors it was read from.
    """

    classes: tuple[str, ...]
    weights_sha256: str

    def prepare(self, photo: Image.Image) -> Any:
        """A photo as `masks` takes it; called in threads beside."""

    def masks(self, photo: Any, size: tuple[int, int]) -> tuple[LabelMap, dict[str, float]]:
        """The label map (H,W) of a prepared photo, and class name → how sure it is of its pixels."""


def open_predictor(
    model: Path | None, *, scales: Sequence[int], flip: bool, crf: bool, device: str
) -> Predictor:
    """The embedded model (None), one in a run folder or model file, or one that `getam export` wrote as ONNX.

    Only what the model needs is loaded: an ONNX file runs where torch is not installed, and within a second of being
    asked; torch takes several to load.

    Args:
        model: as of `getam predict`.
        scales, flip, crf, device: as of `getam predict`.

    Raises:
        InputError: no such model or device, or one without masks.
        WeightsError: the file is damaged, or not getam's.
    """
    if model is not None and Path(model).suffix.lower() == SUFFIX:
        from getam.verbs.predict_onnx import OnnxPredictor

        return OnnxPredictor(Path(model), scales=scales, flip=flip, crf=crf, device=device)
    from getam.verbs.predict_torch import TorchPredictor

    return TorchPredictor(model, scales=scales, flip=flip, crf=crf, device=device)
