"""The network that is trained: encoder, DPT decoder and class head, with one forward for scores and masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from getam.attention.geometry import Geometry
from getam.nets.dpt import DPT
from getam.nets.encoder import Encoder, Feature
from getam.nets.network import Network
from getam.photo_size import usual_side


class Outputs(NamedTuple):
    """scores (B,C) class logits; logits (B,C+1,H,W) pixel logits, background first, or None if not asked for."""

    scores: Tensor
    logits: Tensor | None


class Segmenter(Network):
    """Photos in 0–255 → class scores and pixel logits.

    Args:
        encoder: see `getam.nets.encoder`.
        classes: class names without background.
        channels, width, enlarge: of the decoder, see `getam.nets.dpt`.

    Attributes:
        crop: side in pixels of the crops it was trained on; None: not known.
    """

    crop: int | None = None

    kind: ClassVar[str] = "segmenter"
    class_layers: ClassVar[tuple[str, ...]] = ("classifier", "decoder.head.4")
    """Modules whose rows belong to classes: all that another list of classes needs anew."""

    def __init__(
        self, encoder: Encoder, classes: Sequence[str], channels: Sequence[int], width: int, enlarge: int = 2
    ) -> None:
        super().__init__(classes, encoder.mean, encoder.std)
        self.encoder = encoder
        self.decoder = DPT(encoder, len(self.classes), channels, width, enlarge)
        self.classifier = nn.Linear(channels[3], len(self.classes))

    @property
    def patch(self) -> int:
        """Stride of the patch grid: photo sides are padded to multiples of it by `predict` and `explain`."""
        return self.encoder.patch

    @property
    def side(self) -> int:
        """Long side at which it sees a photo unless told otherwise."""
        return usual_side(self.crop)

    def pretrained_parameters(self) -> Iterator[nn.Parameter]:
        """The backbone's, without a hybrid's transformer, the decoder and the class head."""
        return self.encoder.backbone.parameters()

    def geometry(self, height: int, width: int) -> Geometry:
        """Token geometry for photos of this size (see `getam.attention.capture.geometry`)."""
        return self.encoder.geometry(height, width)

    def class_scores(self, images: Tensor) -> Tensor:
        """(B,C) class logits alone, without running the decoder: all that maps need."""
        return self(images, masks=False).scores

    def forward(self, images: Tensor, *, masks: bool = True) -> Outputs:
        """One forward for everything.

        Args:
            images: (B,3,H,W) float in 0–255, H and W multiples of `patch`.
            masks: False skips the decoder (classification phase, maps).
        """
        features = self.encoder(self.normalised(images))
        deepest = self.decoder.deepest(features)
        scores = self.classifier(deepest.mean((2, 3)))
        if not masks:
            return Outputs(scores, None)
        return Outputs(scores, self._logits(images, features, deepest))

    def _logits(self, images: Tensor, features: Sequence[Feature], deepest: Tensor) -> Tensor:
        """Pixel logits (B,C+1,H,W) of photos (B,3,H,W), from their features and the deepest of the decoder's maps."""
        return self._enlarged(self.decoder(features, deepest), images)

    def _enlarged(self, logits: Tensor, images: Tensor) -> Tensor:
        """The decoder's logits (B,C+1,h,w) at the size of the photos."""
        return F.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=True)
