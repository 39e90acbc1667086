"""DPT decoder: dense prediction from the tokens of a vision transformer (arXiv 2103.13413), as GETAM uses it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from getam.nets.encoder import Encoder, Feature

SQUEEZE_RATIO = 16
HEAD_DROPOUT = 0.1


class Reassemble(nn.Module):
    """One tap → a map at its own resolution: read-out "project", 1×1 convolution, resampling by `factor`.

    Read-out: the CLS token is concatenated to every patch token, Linear 2D → D, GELU. Factor 4 and 2 are transposed
    convolutions, 1 the identity, ½ a stride-2 3×3 convolution. Conv maps (no prefix) skip the read-out.
    """

    def __init__(self, dim: int, out: int, factor: float, *, readout: bool) -> None:
        super().__init__()
        self.readout = nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU()) if readout else None
        self.project = nn.Conv2d(dim, out, 1)
        self.resample: nn.Module
        if factor > 1:
            self.resample = nn.ConvTranspose2d(out, out, int(factor), stride=int(factor))
        elif factor < 1:
            self.resample = nn.Conv2d(out, out, 3, stride=2, padding=1)
        else:
            self.resample = nn.Identity()

    def forward(self, feature: Feature) -> Tensor:
        """(B,D,h,w) and its prefix → (B,out,h·factor,w·factor)."""
        patches = feature.patches
        if self.readout is not None and feature.prefix is not None:
            tokens = patches.flatten(2).transpose(1, 2)
            cls = feature.prefix[:, :1].expand_as(tokens)
            patches = self.readout(torch.cat([tokens, cls], -1)).transpose(1, 2).reshape(patches.shape)
        return self.resample(self.project(patches))


class ResidualUnit(nn.Module):
    """ReLU–conv–BN–ReLU–conv–BN with a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(), nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
            nn.ReLU(), nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Fusion(nn.Module):
    """Add the finer map through a residual unit, refine, and go up to the next size."""

    def __init__(self, width: int, *, deepest: bool) -> None:
        super().__init__()
        self.skip = None if deepest else ResidualUnit(width)
        self.refine = ResidualUnit(width)
        self.project = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor, finer: Tensor | None, size: Sequence[int]) -> Tensor:
        if self.skip is not None and finer is not None:
            x = x + self.skip(finer)
        # A 1×1 convolution commutes with bilinear resizing: it runs on the small side.
        x = self.project(self.refine(x))
        return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


class SqueezeExcite(nn.Module):
    """3×3 convolution gated by a global average (ratio 16), with a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = max(width // SQUEEZE_RATIO, 4)
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, width, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return x + y * self.gate(y)


class DPT(nn.Module):
    """Reassembled taps → logits (B,C+1,h,w) and the deepest reassembled map, which the class head pools.

    Args:
        encoder: gives `dims`, `prefix`, `conv_taps`.
        classes: C; the decoder predicts C+1 with background first.
        channels: of the four reassembled maps: (96,192,384,768) for ViT-B in the paper, (256,512,768,768) for its
            ResNet-50 hybrid.
        width: fusion width (paper: 256).
        enlarge: of the last fusion: 2 in the paper (logits at half the photo's size for 16-pixel patches), 1 for a
            head that costs a quarter.
    """

    def __init__(
        self, encoder: Encoder, classes: int, channels: Sequence[int], width: int, enlarge: int = 2
    ) -> None:
        super().__init__()
        self.enlarge = enlarge
        factors = (4.0, 2.0, 1.0, 0.5)
        self.reassemble = nn.ModuleList(
            Reassemble(dim, out, 1.0 if i < encoder.conv_taps else factor,
                       readout=i >= encoder.conv_taps and encoder.prefix > 0)
            for i, (dim, out, factor) in enumerate(zip(encoder.dims, channels, factors))
        )  # fmt: skip
        self.scratch = nn.ModuleList(nn.Conv2d(c, width, 3, padding=1, bias=False) for c in channels)
        self.fusion = nn.ModuleList(Fusion(width, deepest=i == 3) for i in range(4))
        self.excite = SqueezeExcite(width)
        self.head = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Dropout(HEAD_DROPOUT), nn.Conv2d(width, classes + 1, 1),
        )  # fmt: skip

    def deepest(self, features: Sequence[Feature]) -> Tensor:
        """The stride-2·patch map (B,channels[3],h/2,w/2) the class score is pooled from."""
        return self.reassemble[3](features[3])

    def forward(self, features: Sequence[Feature], deepest: Tensor) -> Tensor:
        """Four taps and the deepest map → logits at `enlarge` times the finest map."""
        maps = [self.reassemble[i](features[i]) for i in range(3)] + [deepest]
        maps = [scratch(m) for scratch, m in zip(self.scratch, maps)]
        x = maps[3]
        for level in (3, 2, 1, 0):
            finest = level == 0
            size = [self.enlarge * s for s in maps[0].shape[-2:]] if finest else maps[level - 1].shape[-2:]
            x = self.fusion[level](x, None if level == 3 else maps[level], size)
        return self.head(self.excite(x))
