"""Build the joint network from names: backbone, weights, decoder sizes."""

from __future__ import annotations

from collections.abc import Sequence

from getam.errors import InputError
from getam.nets.encoder import ConvStem, Encoder, HybridEncoder, build_encoder
from getam.nets.hub import from_hub
from getam.nets.segmenter import Segmenter
from getam.nets.weights import load_backbone

FROM_NOTHING = ""  # `weights=""`: no pretrained weights on purpose
SMALL_HYBRID = (
    "small-hybrid"  # the demo's network: 3 strided convolutions + 4 blocks of width 96, trained from nothing
)


def build_segmenter(
    backbone: str,
    classes: Sequence[str],
    channels: Sequence[int],
    width: int,
    enlarge: int = 2,
    *,
    weights: str | None = None,
    network: type[Segmenter] = Segmenter,
) -> Segmenter:
    """The joint network for a backbone.

    Args:
        backbone: a timm name (transformers as they are, CNNs as the stem of a light hybrid), or "small-hybrid".
        classes: class names without background.
        channels, width, enlarge: of the decoder.
        weights: path of a local safetensors file with timm's names; None asks timm's hub; "" starts from nothing.
        network: the class that is built: `Segmenter`, or one of its relatives with other heads.

    Raises:
        WeightsError: no file was given and the hub cannot be reached.
        InputError: the backbone does not exist or does not fit.
    """
    if backbone == SMALL_HYBRID:
        if weights:
            raise InputError(f"{SMALL_HYBRID} is trained from nothing: leave out the weights {weights}")
        return network(_small_hybrid(), classes, channels, width, enlarge)
    if weights is None:
        encoder = from_hub(lambda: build_encoder(backbone, pretrained=True), backbone)
    else:
        encoder = build_encoder(backbone)
    if weights:
        load_backbone(encoder.backbone, weights)
    return network(encoder, classes, channels, width, enlarge)


def _small_hybrid() -> Encoder:
    dims = (32, 64, 96)
    return HybridEncoder(ConvStem(dims), dims, 8, width=96, depth=4, heads=4, grid=8)
