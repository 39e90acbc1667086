"""The network of AFA (arXiv 2203.02664) on our encoders: a segmenter whose class score is the peak of its class
activation map, and a head that learns from the attention of the last blocks which patches belong together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal, NamedTuple, overload

import torch
from torch import Tensor, nn

from getam.attention.calls import wide
from getam.attention.capture import AttentionCall, Call, capture, global_calls
from getam.attention.geometry import Geometry
from getam.errors import InputError
from getam.nets.encoder import Encoder, Feature
from getam.nets.network import evaluating
from getam.nets.segmenter import Outputs, Segmenter

BLOCKS = 2  # arXiv 2203.02664: the attention of the last two
PROBE = 4  # patches along the side of the photo on which heads are counted


class AffinityOutputs(NamedTuple):
    """`Outputs`, and affinity (B,N,N) in (0,1), symmetric: which of the N = h·w patches belong together."""

    scores: Tensor
    logits: Tensor
    affinity: Tensor


class AffinityHead(nn.Module):
    """a = σ(S + Sᵀ + β) with S = Σ_h w_h L_h, L_h = q_h k_hᵀ / √d: the logits of each head's softmax, patches only.

    The published head takes q kᵀ undivided, a 1×1 convolution and A + Aᵀ, which is this with w_h √d for w_h. The sum
    over heads is one product of queries and keys side by side: no N×N matrix is stored per head. It begins with the
    mean of the heads: patches that attend to each other are alike.

    Args:
        heads: H, of the blocks together.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.mix = nn.Linear(heads, 1)
        nn.init.constant_(self.mix.weight, 1 / heads)
        nn.init.zeros_(self.mix.bias)

    def forward(self, calls: Sequence[Call], prefix: int) -> Tensor:
        """Self-attentions, H heads together, over `prefix` tokens and N patches → (B,N,N), at least float32."""
        weights = iter(self.mix.weight[0].split([call.output.shape[1] for call in calls]))
        queries, keys = [], []
        for call in calls:
            assert isinstance(call, AttentionCall)  # as counted when the network was built
            weighted = wide(call.query[:, :, prefix:]) * (call.scale * next(weights)[:, None, None])
            queries.append(weighted.transpose(1, 2).flatten(2))
            keys.append(wide(call.key[:, :, prefix:]).transpose(1, 2).flatten(2))
        mixed = torch.cat(queries, 2) @ torch.cat(keys, 2).transpose(1, 2)
        return (mixed + mixed.transpose(1, 2) + self.mix.bias).sigmoid()


class AffinitySegmenter(Segmenter):
    """`Segmenter` with the class head and the affinity head of AFA.

    The class head is a norm of the last block's patches, as MiT has it at the end of a stage, and a 1×1 convolution
    without bias; its output are the class activation maps before their ReLU, and a class scores as its highest patch.

    Args:
        encoder: a transformer or a hybrid whose last attentions go through queries and keys.
        classes, channels, width, enlarge: as of `Segmenter`.

    Raises:
        InputError: the encoder's attention has no queries and keys to read.
    """

    kind: ClassVar[str] = "afa"
    class_layers: ClassVar[tuple[str, ...]] = ("norm", "classifier", "decoder.head.4", "affinity_head")

    def __init__(
        self, encoder: Encoder, classes: Sequence[str], channels: Sequence[int], width: int, enlarge: int = 2
    ) -> None:
        super().__init__(encoder, classes, channels, width, enlarge)
        self.norm = nn.LayerNorm(encoder.dims[3])
        self.classifier = nn.Linear(encoder.dims[3], len(self.classes), bias=False)
        self.affinity_head = AffinityHead(_heads(encoder))

    def geometry(self, height: int, width: int) -> Geometry:
        """As of every segmenter; scores are read from patches, whatever tokens stand before them."""
        return replace(super().geometry(height, width), rows="patches")

    def class_scores(self, images: Tensor) -> Tensor:
        """(B,C) class logits alone."""
        return self.activations(images).amax((2, 3))

    def activations(self, images: Tensor) -> Tensor:
        """Photos (B,3,H,W) in 0–255 → class activation maps before their ReLU (B,C,h,w); scores are their maxima."""
        return self._activations(self.encoder(self.normalised(images)))

    def learned_affinity(self, images: Tensor) -> Tensor:
        """Photos (B,3,H,W) in 0–255 → (B,N,N) in (0,1), on the patch grid that `geometry` tells."""
        return self._read(images)[1]

    def activations_and_affinity(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """`activations` and `learned_affinity` of one forward."""
        features, affinity = self._read(images)
        return self._activations(features), affinity

    @overload
    def forward(self, images: Tensor, *, masks: bool = True, affinity: Literal[False] = False) -> Outputs: ...
    @overload
    def forward(self, images: Tensor, *, masks: bool = True, affinity: Literal[True]) -> AffinityOutputs: ...
    def forward(
        self, images: Tensor, *, masks: bool = True, affinity: bool = False
    ) -> Outputs | AffinityOutputs:
        """As of every segmenter; `affinity` asks for all three heads of one forward."""
        if affinity:
            features, learned = self._read(images)
            return AffinityOutputs(self._scores(features), self._decoded(images, features), learned)
        features = self.encoder(self.normalised(images))
        return Outputs(self._scores(features), self._decoded(images, features) if masks else None)

    def _read(self, images: Tensor) -> tuple[Sequence[Feature], Tensor]:
        place = self.geometry(images.shape[-2], images.shape[-1])
        with capture(self.encoder) as tap:
            features = self.encoder(self.normalised(images))
        return features, self.affinity_head(global_calls(tap, place)[-BLOCKS:], place.prefix)

    def _activations(self, features: Sequence[Feature]) -> Tensor:
        patches = features[3].patches
        found = self.classifier(self.norm(patches.flatten(2).transpose(1, 2)))
        return found.transpose(1, 2).unflatten(2, patches.shape[2:])

    def _scores(self, features: Sequence[Feature]) -> Tensor:
        return self._activations(features).amax((2, 3))

    def _decoded(self, images: Tensor, features: Sequence[Feature]) -> Tensor:
        return self._logits(images, features, self.decoder.deepest(features))


@torch.no_grad()
def _heads(encoder: Encoder) -> int:
    """Attention heads of the last blocks together, found by running a small photo."""
    side = PROBE * encoder.patch
    with evaluating(encoder), capture(encoder) as tap:
        encoder(torch.zeros(1, 3, side, side))
    calls = global_calls(tap, encoder.geometry(side, side))[-BLOCKS:]
    if not all(isinstance(call, AttentionCall) for call in calls):
        raise InputError(
            f"the affinity of afa is learned from queries and keys, and {calls[-1].name} computes its attention by "
            "hand: choose a backbone of the vit, deit, dinov2, dinov3 or hybrid families, or a CNN"
        )
    return sum(call.output.shape[1] for call in calls)
