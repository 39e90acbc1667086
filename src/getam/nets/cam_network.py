"""A CNN whose class scores are the mean of a class score map: the network of Puzzle-CAM (arXiv 2101.11253).

A bias-free 1×1 convolution stands before the average instead of a linear layer behind it, so the map itself can be
trained, and CAM (arXiv 1512.04150) is its positive part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from torch import Tensor, nn

from getam.nets.classifier import OUTPUT_STRIDE, timm_body
from getam.nets.encoder import photo_statistics
from getam.nets.network import Network
from getam.nets.stages import channels, in_stages


class CAMNetwork(Network):
    """Photos in 0–255 → class score maps, whose means are the class scores.

    Args:
        body: normalised photos → features (B,D,h,w).
        dim: D.
        classes: class names without background.
        patch: stride of the map.
        mean, std: what photos are normalised with, in 0–255.
    """

    kind: ClassVar[str] = "cam"

    def __init__(
        self,
        body: nn.Module,
        dim: int,
        classes: Sequence[str],
        patch: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__(classes, mean, std)
        self._patch = patch
        self.body = body
        self.classifier = nn.Conv2d(dim, len(self.classes), 1, bias=False)

    @property
    def patch(self) -> int:
        """As of every network."""
        return self._patch

    def pretrained_parameters(self) -> Iterator[nn.Parameter]:
        """All but the classifier's."""
        return self.body.parameters()

    def class_scores(self, images: Tensor) -> Tensor:
        """(B,C) class logits."""
        return self.score_map(images).mean((2, 3))

    def score_map(self, images: Tensor) -> Tensor:
        """Photos (B,3,H,W) float in 0–255, H and W multiples of `patch` → score map (B,C,h,w), of either sign."""
        return self.classifier(self.body(self.normalised(images)))

    def forward(self, *batches: Tensor) -> tuple[Tensor, ...]:
        """The score map of each of several batches of photos, each with its own statistics in batch norms.

        One forward for all: a training in several processes knows of one per step.
        """
        return tuple(self.score_map(images) for images in batches)


def build_cam_network(
    backbone: str, classes: Sequence[str], *, weights: str | None = None, output_stride: int = OUTPUT_STRIDE
) -> CAMNetwork:
    """A timm CNN with a score map per class; args and errors as `bas.build_bas`."""
    model = timm_body(backbone, weights=weights, output_stride=output_stride)
    (body,) = in_stages(model, backbone, 1)
    (dim,) = channels([body])
    patch = int(model.feature_info[-1]["reduction"])
    net = CAMNetwork(body, dim, classes, patch, *photo_statistics(model.pretrained_cfg or {}))
    return net.train()
