"""`getam predict` with a network in torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from getam.data.masks import LabelMap
from getam.data.photos import as_tensor
from getam.engine.device import choose_device
from getam.engine.model import load_segmenter
from getam.engine.weights_hash import weights_hash
from getam.exported.arrays import Floats
from getam.nets.embedded import embedded_model
from getam.nets.inference import batch_logits, shrunk_photo
from getam.nets.masks import mask_of
from getam.photo_size import WORK_SIDE
from getam.refine.crf import dense_crf
from getam.refine.crf_parameters import DEEPLAB

TILES_AT_ONCE = 8  # on a GPU; a CPU is no faster with several


class TorchPredictor:
    """A run folder, a model file, or the embedded model (None); see `getam.verbs.predictor.Predictor`."""

    def __init__(
        self, model: Path | None, *, scales: Sequence[int] | None, flip: bool, crf: bool, device: str
    ) -> None:
        self._device = choose_device(device)
        self._net = load_segmenter(model, device=self._device)
        self._at_once = 1 if self._device.type == "cpu" else TILES_AT_ONCE
        self.classes, self.patch = self._net.classes, self._net.patch
        self.weights_sha256 = weights_hash(model or embedded_model())
        self.scales, self._flip, self._crf = tuple(scales or (self._net.side,)), flip, crf

    def seen_side(self, long_side: int) -> int:
        """As `predict` says, whatever the photo's."""
        return max(WORK_SIDE, *self.scales)

    def prepare(self, photo: Image.Image, size: tuple[int, int]) -> Tensor:
        """(3,H,W) uint8, shrunk to what is looked at."""
        return shrunk_photo(as_tensor(photo), max(WORK_SIDE, *self.scales))

    def masks(
        self, photo: Tensor, size: tuple[int, int], present: Sequence[int] | None = None
    ) -> tuple[LabelMap, dict[str, float]]:
        """As `getam.nets.masks.mask_of`."""
        return mask_of(self._net, photo, self.scales, size, flip=self._flip, crf=self._crf, present=present)

    def logits(self, photos: Sequence[Image.Image]) -> Iterator[Floats]:
        """Of tiles, some at a time."""
        for first in range(0, len(photos), self._at_once):
            tiles = [as_tensor(photo) for photo in photos[first : first + self._at_once]]
            for found in batch_logits(self._net, tiles, self.scales, flip=self._flip):
                yield found.cpu().numpy()

    def sharpened(self, photo: Image.Image, beliefs: Floats) -> Floats:
        """Of a tile, at its own size."""
        image = as_tensor(photo).to(self._device, torch.float32)[None]
        return (
            dense_crf(image, torch.from_numpy(beliefs).to(self._device)[None], parameters=DEEPLAB)[0]
            .cpu()
            .numpy()
        )
