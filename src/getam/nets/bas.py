"""The network of BAS (arXiv 2112.00580, 2309.12943): a CNN split at F1, and a generator of one map per class beside it.

Stem and stages up to the last but one give F1; the last stage and a bias-free 1×1 convolution give the class score map,
whose average is the score; a bias-free 3×3 convolution on F1 and a sigmoid give the maps (the variant for tags, WSSS).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final, NamedTuple

from torch import Tensor, nn

from getam.nets.classifier import timm_body
from getam.nets.encoder import photo_statistics
from getam.nets.log_odds import log_odds
from getam.nets.network import Network
from getam.nets.stages import channels, in_stages

OUTPUT_STRIDE: Final = (
    16  # the last stage runs without further stride (reference, WSSS) where timm can dilate
)


class BASOutputs(NamedTuple):
    """scores (B,C); features F1 (B,D,h,w); class_map (B,C,h',w'), whose mean is `scores`; maps (B,C,h,w) in (0,1)."""

    scores: Tensor
    features: Tensor
    class_map: Tensor
    maps: Tensor


class BASNetwork(Network):
    """Photos in 0–255 → class scores, and a learned map per class.

    Args:
        low: normalised photos → F1.
        high: F1 → features (B,D',h',w').
        dims: (D, D'), channels of F1 and of those features.
        classes: class names without background.
        patch: stride of the class score map.
        mean, std: what photos are normalised with, in 0–255.
    """

    kind: ClassVar[str] = "bas"

    def __init__(
        self,
        low: nn.Module,
        high: nn.Module,
        dims: tuple[int, int],
        classes: Sequence[str],
        patch: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__(classes, mean, std)
        self._patch = patch
        self.low = low
        classifier = nn.Conv2d(dims[1], len(self.classes), 1, bias=False)
        self.high = nn.Sequential(OrderedDict(stages=high, classifier=classifier))
        self.generator = nn.Conv2d(dims[0], len(self.classes), 3, padding=1, bias=False)

    @property
    def patch(self) -> int:
        """As of every network."""
        return self._patch

    def pretrained_parameters(self) -> Iterator[nn.Parameter]:
        """Those of `low` and `high`, without the classifier."""
        yield from self.low.parameters()
        yield from self.high.get_submodule("stages").parameters()

    def class_scores(self, images: Tensor) -> Tensor:
        """(B,C) class logits alone."""
        return self.high(self.low(self.normalised(images))).mean((2, 3))

    def learned_maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Photos (B,3,H,W) in 0–255 → the maps of all classes (B,C,h,w) in (0,1), and log-odds of classes (B,C)."""
        found = self(images)
        return found.maps, self.log_odds(found.scores)

    def log_odds(self, scores: Tensor) -> Tensor:
        """Logits (B,C) → each class against all others: L_cls sees differences within a photo, and no logit alone."""
        return log_odds(scores)

    def forward(self, images: Tensor) -> BASOutputs:
        """One forward for everything; images (B,3,H,W) float in 0–255, H and W multiples of `patch`."""
        features = self.low(self.normalised(images))
        class_map = self.high(features)
        return BASOutputs(class_map.mean((2, 3)), features, class_map, self.generator(features).sigmoid())


def build_bas(
    backbone: str, classes: Sequence[str], *, weights: str | None = None, output_stride: int = OUTPUT_STRIDE
) -> BASNetwork:
    """The network of BAS on a timm CNN.

    Args:
        backbone: a timm CNN whose stages follow one another: EfficientNets, MobileNets, ResNets, RegNets, DenseNets, …
        classes: class names without background.
        weights: path of a local safetensors file with timm's names; None asks timm's hub; "" starts from nothing.
        output_stride: of the class score map, by dilation; a model that timm cannot dilate keeps its own.

    Raises:
        WeightsError: no file was given and the hub cannot be reached, or the file is another model's.
        InputError: timm has no such model, or it cannot be split.
    """
    model = timm_body(backbone, weights=weights, output_stride=output_stride)
    low, high = in_stages(model, backbone, 2)
    info = model.feature_info
    mean, std = photo_statistics(model.pretrained_cfg or {})
    lower, upper = channels((low, high))
    net = BASNetwork(low, high, (lower, upper), classes, int(info[-1]["reduction"]), mean, std)
    return net.train()
