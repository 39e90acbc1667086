"""`getam predict` with a network in torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from getam.data.confidences import confidences
from getam.data.masks import LabelMap
from getam.data.photos import as_tensor
from getam.engine.device import choose_device
from getam.engine.model import load_segmenter
from getam.nets.embedded import embedded_model
from getam.nets.inference import enlarged_labels, photo_logits, shrunk_photo
from getam.nets.masks import decisive
from getam.photo_size import WORK_SIDE
from getam.verbs.outputs import weights_hash


class TorchPredictor:
    """A run folder, a model file, or the embedded model (None); see `getam.verbs.predictors.Predictor`."""

    def __init__(
        self, model: Path | None, *, scales: Sequence[int], flip: bool, crf: bool, device: str
    ) -> None:
        self._net = load_segmenter(model, device=choose_device(device))
        self.classes = self._net.classes
        self.weights_sha256 = weights_hash(model or embedded_model())
        self._scales, self._flip, self._crf = tuple(scales), flip, crf

    def prepare(self, photo: Image.Image) -> Tensor:
        """(3,H,W) uint8, shrunk to what is looked at."""
        return shrunk_photo(as_tensor(photo), max(WORK_SIDE, *self._scales))

    def masks(self, photo: Tensor, size: tuple[int, int]) -> tuple[LabelMap, dict[str, float]]:
        """Confidences are of the network's probabilities before the CRF."""
        logits = photo_logits(self._net, photo, self._scales, flip=self._flip)
        beliefs, values = decisive(logits, photo, crf=self._crf)
        sure = confidences(beliefs.cpu(), values.argmax(0).cpu(), self.classes)
        return enlarged_labels(values, size).cpu().numpy(), sure
