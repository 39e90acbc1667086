"""The network of SIPE (arXiv 2203.02909): a CNN with a class score map, and side branches on its stages.

What follows the last stage is a bias-free 1×1 convolution, whose mean is the class score. Every stage's features, cut
off from its gradient, pass a bias-free 1×1 convolution and are L2-normalised position by position; brought to the grid
of the last stage but one and put side by side they are the features in which a photo's prototypes are found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from getam.maps.methods.is_cam import class_maps, image_specific_cam
from getam.nets.cam_network import CAMNetwork
from getam.nets.classifier import OUTPUT_STRIDE, timm_body
from getam.nets.encoder import photo_statistics
from getam.nets.stages import channels, in_stages

BRANCHES: Final = (128, 128, 256, 256)  # channels of the side branches (reference)


class SIPEOutputs(NamedTuple):
    """score_map (B,C,h',w'), whose mean is the class score; last (B,D',h,w), the last stage's features; side (B,D,h,w).

    h × w is the grid of the last stage but one; `side` has four parts, each of length 1 where it was made.
    """

    score_map: Tensor
    last: Tensor
    side: Tensor


class SIPENetwork(CAMNetwork):
    """`CAMNetwork` with side branches: class score maps, and features for prototypes.

    Args:
        stages: normalised photos → features, one after the other; four of them.
        dims: channels of each.
        branches: channels of each side branch.
        classes: class names without background.
        patch: stride of the score map.
        mean, std: what photos are normalised with, in 0–255.
    """

    kind: ClassVar[str] = "sipe"

    def __init__(
        self,
        stages: Sequence[nn.Module],
        dims: Sequence[int],
        branches: Sequence[int],
        classes: Sequence[str],
        patch: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__(nn.Sequential(*stages), dims[-1], classes, patch, mean, std)
        self.branches = nn.ModuleList(
            nn.Conv2d(given, made, 1, bias=False) for given, made in zip(dims, branches, strict=True)
        )

    def forward(self, images: Tensor) -> SIPEOutputs:  # type: ignore[override]
        """One forward for everything; images (B,3,H,W) float in 0–255, H and W multiples of `patch`."""
        features = [self.normalised(images)]
        for stage in self.body.children():
            features.append(stage(features[-1]))
        grid = features[-2].shape[-2:]
        side = [F.normalize(branch(f.detach()), dim=1) for branch, f in zip(self.branches, features[1:])]
        same = [
            F.interpolate(f, size=grid, mode="bilinear", align_corners=False) for f in (*side, features[-1])
        ]
        return SIPEOutputs(self.classifier(features[-1]), same[-1], torch.cat(same[:-1], 1))

    def prototype_maps(self, images: Tensor, own: Tensor) -> Tensor:
        """Image-specific maps of photos (B,3,H,W) whose classes are known: (B,1+C,h,w) in [0,1], background first.

        As in the paper's inference: structure and prototypes are both found in the side branches.

        Args:
            images: as of `forward`.
            own: (B,C) bool; any other class has a zero map.
        """
        found = self(images)
        return image_specific_cam(found.side, on_side_grid(class_maps(found.score_map), found), own)


def on_side_grid(maps: Tensor, found: SIPEOutputs) -> Tensor:
    """Maps (B,C,h',w') on the grid of the score map → (B,C,h,w) on that of the side branches."""
    return F.interpolate(maps, size=found.side.shape[-2:], mode="bilinear", align_corners=False)


def build_sipe(
    backbone: str,
    classes: Sequence[str],
    *,
    weights: str | None = None,
    output_stride: int = OUTPUT_STRIDE,
    branches: Sequence[int] = BRANCHES,
) -> SIPENetwork:
    """A timm CNN with score map and side branches.

    Args:
        backbone, classes, weights, output_stride: as of `bas.build_bas`.
        branches: channels of the four side branches.

    Raises:
        WeightsError: as `build_bas`.
        InputError: as `build_bas`, or the CNN has fewer than four stages.
    """
    model = timm_body(backbone, weights=weights, output_stride=output_stride)
    stages = in_stages(model, backbone, len(BRANCHES))
    patch = int(model.feature_info[-1]["reduction"])
    statistics = photo_statistics(model.pretrained_cfg or {})
    return SIPENetwork(stages, channels(stages), branches, classes, patch, *statistics).train()
