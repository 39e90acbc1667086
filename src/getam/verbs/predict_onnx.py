"""`getam predict` with a network in an ONNX file: the steps of `getam.verbs.predict_torch`, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from getam.data.confidences import confidences
from getam.data.masks import LabelMap
from getam.engine.device import AUTO
from getam.errors import InputError
from getam.exported.arrays import Floats, enlarged_labels, softmax
from getam.exported.onnx_segmenter import OnnxSegmenter
from getam.label_numbers import Among
from getam.photo_size import WORK_SIDE, fit_long_side

DEVICES = (AUTO, "cpu")


class OnnxPredictor:
    """What `getam export` wrote; see `getam.verbs.predictor.Predictor`.

    Raises:
        InputError: a device other than the CPU, besides what `OnnxSegmenter` raises.
    """

    def __init__(
        self, model: Path, *, scales: Sequence[int] | None, flip: bool, crf: bool, device: str
    ) -> None:
        if device not in DEVICES:
            raise InputError(f"--device {device}: ONNX files run on the CPU here; choose auto or cpu")
        self._segmenter = OnnxSegmenter(model)
        self.classes = self._segmenter.about.classes
        self.weights_sha256 = self._segmenter.sha256
        self.patch = self._segmenter.about.patch
        self.scales = tuple(scales or (self._segmenter.about.side,))
        self._flip, self._crf = flip, crf

    def seen_side(self, long_side: int) -> int:
        """As `predict` says, whatever the photo's."""
        return max(WORK_SIDE, *self.scales)

    def prepare(self, photo: Image.Image, size: tuple[int, int]) -> Image.Image:
        """RGB, shrunk to what is looked at."""
        height, width = fit_long_side(photo.height, photo.width, max(WORK_SIDE, *self.scales))
        return photo.resize((width, height), Image.Resampling.BILINEAR)

    def masks(
        self, photo: Image.Image, size: tuple[int, int], present: Sequence[int] | None = None
    ) -> tuple[LabelMap, dict[str, float]]:
        """Confidences are of the network's probabilities before the CRF, shared among what may win."""
        among = Among(self.classes, present)
        logits = among.of(self._segmenter.photo_logits(photo, self.scales, flip=self._flip))
        beliefs, values = softmax(logits), logits
        if self._crf:
            from getam.exported.crf import as_seen, dense_crf  # SciPy's sparse matrices take a while to load

            seen, beliefs = as_seen(channels(photo), beliefs)
            values = dense_crf(seen, beliefs)
        sure = confidences(beliefs, values.argmax(0), among.names)
        return among.labels(enlarged_labels(values, size)), sure

    def logits(self, photos: Sequence[Image.Image]) -> Iterator[Floats]:
        """Of tiles, one after the other."""
        return (self._segmenter.photo_logits(photo, self.scales, flip=self._flip) for photo in photos)

    def sharpened(self, photo: Image.Image, beliefs: Floats) -> Floats:
        """Of a tile, at its own size."""
        from getam.exported.crf import dense_crf

        return dense_crf(channels(photo), beliefs)


def channels(photo: Image.Image) -> Floats:
    """(3,H,W) in 0–255 of an RGB photo."""
    return np.asarray(photo, np.float32).transpose(2, 0, 1)
