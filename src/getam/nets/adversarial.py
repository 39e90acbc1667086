"""The network of MDBA (arXiv 2305.05154): a segmenter that scores classes by its pixels, and a discriminator beside it.

One backward trains both: what the segmenter learns from the discriminator passes through a frozen copy of it, and what
the discriminator learns it learns from detached predictions. Both gradients are those of one moment, as where two
optimisers step after one accumulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Final

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from getam.nets.encoder import Encoder
from getam.nets.segmenter import Outputs, Segmenter

GROWTH: Final = (1, 2, 4, 8)  # of the discriminator's width, layer by layer (reference: 64, 128, 256, 512)
SLOPE: Final = 0.2  # of its leaky ReLUs (reference)
SHARE: Final = 4  # the decoder's width by the discriminator's: 256 by 64 in the reference's size


class Discriminator(nn.Module):
    """Five 4×4 convolutions of stride 2: does this map of probabilities come from a label?

    Args:
        channels: C + 1 of the maps.
        width: of the first convolution.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for given, made in pairwise((channels, *(factor * width for factor in GROWTH))):
            layers += [nn.Conv2d(given, made, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(GROWTH[-1] * width, 1, 4, stride=2, padding=1))

    def forward(self, maps: Tensor) -> Tensor:
        """(B,C+1,H,W) → logits (B,H,W), enlarged from a 32nd of the sides; H and W at least 32."""
        found = self.layers(maps)
        return F.interpolate(found, size=maps.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


class AdversarialSegmenter(Segmenter):
    """`Segmenter` whose class score is the mean of the class's pixel logits, with a discriminator of its outputs.

    The discriminator is a quarter as wide as the decoder, and stays in the model file: a run goes on with it.

    Args: as of `Segmenter`.
    """

    kind: ClassVar[str] = "mdba"
    class_layers: ClassVar[tuple[str, ...]] = ("decoder.head.4", "discriminator")

    def __init__(
        self, encoder: Encoder, classes: Sequence[str], channels: Sequence[int], width: int, enlarge: int = 2
    ) -> None:
        super().__init__(encoder, classes, channels, width, enlarge)
        del self.classifier  # scores are read from the pixels
        self.discriminator = Discriminator(len(self.classes) + 1, max(1, width // SHARE))

    def forward(self, images: Tensor, *, masks: bool = True) -> Outputs:
        """As of every segmenter; without masks only their enlargement is saved."""
        features = self.encoder(self.normalised(images))
        small = self.decoder(features, self.decoder.deepest(features))
        scores = small[:, 1:].mean((2, 3))
        return Outputs(scores, self._enlarged(small, images) if masks else None)

    def judged(self, maps: Tensor, *, frozen: bool) -> Tensor:
        """The discriminator's logits (B,H,W) of maps (B,C+1,H,W); frozen: its weights are constants to the gradient."""
        if not frozen:
            return self.discriminator(maps)
        weights = {name: parameter.detach() for name, parameter in self.discriminator.named_parameters()}
        return functional_call(self.discriminator, weights, (maps,))
