"""Encoders: any timm vision transformer, or a CNN stem with transformer blocks on top, as four feature maps for DPT.

DPT (arXiv 2103.13413) taps four places. A plain ViT gives the token maps of four blocks (2, 5, 8, 11 of 12). A hybrid
gives two conv maps at ¼ and ½ of its stride, then the token maps of a middle and of the last block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_hybrid import HybridEmbed
from torch import Tensor, nn

from getam.attention.capture import capture, global_calls
from getam.attention.geometry import Geometry, geometry
from getam.errors import CaptureError, InputError
from getam.threads import Hooks

STEM_STRIDE = 16  # hybrids: where the transformer takes over
HYBRID_WIDTH, HYBRID_DEPTH, HYBRID_HEADS = 192, 6, 6  # light blocks for CPU work, see docs/results.md


@dataclass(frozen=True, eq=False)
class Feature:
    """One tapped map: `patches` (B,D,h,w) and, for token maps with prefix tokens, `prefix` (B,P,D)."""

    patches: Tensor
    prefix: Tensor | None


class Encoder(nn.Module):
    """What the decoder and the class head need of a backbone.

    Attributes:
        dims: channels of the four taps.
        prefix: number of prefix tokens P of the token maps (0 for average-pooled models without any).
        conv_taps: how many of the four taps are conv maps (0 plain, 2 hybrid).
        patch: stride of the patch grid in pixels.
        mean, std: what the backbone's photos are normalised with, in 0–255.
        start: first block that counts in the maps by default; None: half of them.

    `forward` takes normalised images (B,3,H,W), H and W multiples of `patch`, and gives the four taps as `Feature`s,
    shallow to deep.
    """

    backbone_name: str
    start: int | None = None

    dims: tuple[int, ...]
    prefix: int
    conv_taps: int
    patch: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def backbone(self) -> nn.Module:
        """The timm module that pretrained weights belong to."""
        return self.get_submodule(self.backbone_name)

    def geometry(self, height: int, width: int) -> Geometry:
        """Token geometry; the read-out mixes CLS into the patches, so its row is read where there is one."""
        rows = "cls" if self.prefix else "patches"
        return Geometry(self.prefix, (height // self.patch, width // self.patch), rows, self.start)


class VitEncoder(Encoder):
    """A timm vision transformer, unmodified; `timm.create_model(..., num_classes=0)` plus its tapped blocks.

    A model that takes one photo size only (BEiT's position biases belong to one grid) gets every photo at that size.
    """

    backbone_name = "model"

    def __init__(self, model: nn.Module, taps: Sequence[int] | None = None) -> None:
        super().__init__()
        if not callable(getattr(model, "forward_intermediates", None)) or not hasattr(model, "blocks"):
            raise InputError(
                f"{type(model).__name__} is not a plain timm vision transformer (it has no blocks with "
                "forward_intermediates): choose one of the vit, deit, beit, eva, dinov2, dinov3 or hybrid families"
            )
        self.model = model
        timm_model: Any = model
        depth, dim = len(timm_model.blocks), int(timm_model.embed_dim)
        embed = timm_model.patch_embed
        self.stages: list[nn.Module] = []
        if isinstance(embed, HybridEmbed):
            stem: Any = embed.backbone
            convs = _conv_stages(stem)
            self.stages = [module for module, _ in convs]
            blocks = list(taps) if taps else [depth * 3 // 4 - 1, depth - 1]
            self.dims = (*(channels for _, channels in convs), dim, dim)
            patch = embed.feat_ratio()
        else:
            blocks = list(taps) if taps else [depth * i // 4 - 1 for i in (1, 2, 3, 4)]
            self.dims = (dim,) * 4
            patch = embed.patch_size
        self.blocks = blocks
        self.conv_taps = len(self.stages)
        self.patch = int(patch[0] if isinstance(patch, (tuple, list)) else patch)
        self.prefix = int(getattr(model, "num_prefix_tokens", 0))
        self.fixed = tuple(embed.img_size) if getattr(embed, "strict_img_size", False) else None
        cfg = getattr(model, "pretrained_cfg", None) or {}
        self.mean, self.std = photo_statistics(cfg)

    def forward(self, images: Tensor) -> list[Feature]:
        """Normalised images (B,3,H,W) → four taps."""
        if self.fixed is not None and images.shape[-2:] != self.fixed:
            images = F.interpolate(images, size=self.fixed, mode="bilinear", antialias=True)
        convs: list[Tensor] = []
        with Hooks() as hooks:
            for stage in self.stages:
                hooks.after(stage, lambda _module, _inputs, output: convs.append(output))
            vit: Any = self.model
            found = vit.forward_intermediates(
                images, indices=self.blocks, return_prefix_tokens=self.prefix > 0, norm=False,
                intermediates_only=True,
            )  # fmt: skip
        tokens = [Feature(*t) if isinstance(t, (tuple, list)) else Feature(t, None) for t in found]
        return [Feature(c, None) for c in convs] + tokens

    def geometry(self, height: int, width: int) -> Geometry:
        """As of every encoder; the grid of a model of one size does not follow the photo."""
        return super().geometry(*(self.fixed or (height, width)))


class ConvStem(nn.Module):
    """Strided 3×3 convolutions with BatchNorm, one map per layer: a stem for small photos, trained from nothing."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        sides = (3, *channels)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise(sides)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B,3,H,W) → maps at strides 2, 4, 8, …"""
        maps = []
        for layer in self.layers:
            images = layer(images)
            maps.append(images)
        return maps


class HybridEncoder(Encoder):
    """A CNN stem that returns maps at ¼, ½ and 1 of the patch stride, and a timm ViT with 1×1 patches over the last.

    The paper's best network is a conv-stem hybrid too; this is its light relative for pretrained CNNs.
    """

    backbone_name = "stem"
    start = 0  # the stem has done the early work: maps gain from every block (docs/results.md)

    def __init__(
        self,
        stem: nn.Module,
        stem_dims: Sequence[int],
        patch: int,
        *,
        width: int = HYBRID_WIDTH,
        depth: int = HYBRID_DEPTH,
        heads: int = HYBRID_HEADS,
        grid: int = 14,
        mean: Sequence[float] = (127.0, 127.0, 127.0),
        std: Sequence[float] = (128.0, 128.0, 128.0),
    ) -> None:
        super().__init__()
        self.stem = stem
        self.vit: Any = VisionTransformer(
            img_size=grid, patch_size=1, in_chans=stem_dims[2], embed_dim=width, depth=depth, num_heads=heads,
            num_classes=0, dynamic_img_size=True,
        )  # fmt: skip
        self.blocks = [depth // 2 - 1, depth - 1]
        self.dims = (stem_dims[0], stem_dims[1], width, width)
        self.conv_taps, self.prefix, self.patch = 2, 1, patch
        self.mean, self.std = tuple(mean), tuple(std)

    def forward(self, images: Tensor) -> list[Feature]:
        """Normalised images (B,3,H,W) → four taps."""
        quarter, half, last = self.stem(images)
        tokens = self.vit.forward_intermediates(
            last, indices=self.blocks, return_prefix_tokens=True, norm=False, intermediates_only=True
        )
        return [Feature(quarter, None), Feature(half, None), *(Feature(*t) for t in tokens)]


def build_encoder(backbone: str, *, pretrained: bool = False) -> Encoder:
    """Encoder for a timm model name: transformers as they are, CNNs as the stem of a light hybrid.

    Args:
        backbone: e.g. "vit_small_patch14_dinov2", "vit_base_r50_s16_384", "tf_efficientnet_lite0".
        pretrained: ask timm for its hub weights (needs a network).

    Raises:
        InputError: no such timm model, or one without a plain transformer or three conv stages up to stride 16.
    """
    if not timm.is_model(backbone.split(".")[0]):
        raise InputError(f"timm has no model {backbone!r}: see timm.list_models('*vit*')")
    probe, sized = _probe(backbone)
    if _is_transformer(probe):
        _require_global_attention(probe, backbone)
        model = timm.create_model(backbone, pretrained=pretrained, num_classes=0, **sized)
        return VitEncoder(model)
    return _cnn_hybrid(backbone, pretrained)


def is_transformer(backbone: str) -> bool:
    """Whether a timm model is a vision transformer, also on a conv stem; False of what timm does not know."""
    return timm.is_model(backbone.split(".")[0]) and _is_transformer(_probe(backbone)[0])


def _is_transformer(model: nn.Module) -> bool:
    return hasattr(model, "blocks") and hasattr(model, "patch_embed")


def _cnn_hybrid(backbone: str, pretrained: bool) -> HybridEncoder:
    try:
        stem: Any = timm.create_model(backbone, features_only=True, output_stride=STEM_STRIDE)
    except (
        RuntimeError,
        TypeError,
        NotImplementedError,
        AttributeError,
        AssertionError,
    ):  # timm's ways to say no
        raise InputError(
            f"{backbone} is neither a plain timm vision transformer nor a CNN that timm can dilate to stride "
            f"{STEM_STRIDE}: choose for example resnet50, tf_efficientnet_lite0 or a vit, deit or dinov2"
        ) from None
    strides = stem.feature_info.reduction()
    at = {stride: index for index, stride in enumerate(strides)}  # the deepest map of each stride
    if not {STEM_STRIDE // 4, STEM_STRIDE // 2, STEM_STRIDE} <= at.keys():
        raise InputError(f"{backbone} has feature maps at strides {strides}; a hybrid needs 4, 8 and 16")
    chosen = [at[STEM_STRIDE // 4], at[STEM_STRIDE // 2], at[STEM_STRIDE]]
    stem = timm.create_model(
        backbone, pretrained=pretrained, features_only=True, output_stride=STEM_STRIDE, out_indices=chosen
    )
    mean, std = photo_statistics(stem.pretrained_cfg)
    return HybridEncoder(stem, stem.feature_info.channels(), STEM_STRIDE, mean=mean, std=std)


def _conv_stages(backbone: Any) -> list[tuple[nn.Module, int]]:
    """The stages at ¼ and ½ of a timm hybrid's stride, and their channels (ResNetV2 stems: stages 0 and 1)."""
    stages = list(getattr(backbone, "stages", []))
    info = getattr(backbone, "feature_info", None)
    if len(stages) < 2 or info is None:
        raise InputError("this hybrid's conv stem has no two stages to tap: choose an r26 or r50 hybrid")
    channels = [entry["num_chs"] for entry in info][-len(stages) :]
    return [(stages[0], channels[0]), (stages[1], channels[1])]


def photo_statistics(cfg: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std in 0–255 out of a timm pretrained_cfg."""
    mean = cfg.get("mean") or (0.485, 0.456, 0.406)
    std = cfg.get("std") or (0.229, 0.224, 0.225)
    return tuple(255.0 * m for m in mean), tuple(255.0 * s for s in std)


def _probe(backbone: str) -> tuple[nn.Module, dict[str, bool]]:
    """The model on the meta device, structure without memory, and the options that let it take any photo size."""
    any_size = {"dynamic_img_size": True}
    with torch.device("meta"):
        try:
            return timm.create_model(backbone, pretrained=False, num_classes=0, **any_size), any_size
        except TypeError:
            return timm.create_model(backbone, pretrained=False, num_classes=0), {}
        except RuntimeError as error:  # an unknown tag after the dot
            raise InputError(f"timm cannot build {backbone!r}: {error}") from None


def _require_global_attention(probe: nn.Module, backbone: str) -> None:
    """Say now what would otherwise end a training half-way: the first maps are made in its second phase."""
    embed: Any = probe.patch_embed
    try:
        if getattr(embed, "strict_img_size", False) or not hasattr(embed, "feat_ratio"):
            size = tuple(embed.img_size)
        else:
            size = tuple(4 * side for side in embed.feat_ratio(as_scalar=False))
        place = geometry(probe, *size)
        with torch.no_grad(), capture(probe.eval()) as tap:
            probe(torch.empty(1, 3, *size, device="meta"))
        global_calls(tap, place)
    except (CaptureError, AttributeError) as error:
        raise InputError(
            f"{backbone} cannot be an encoder, no maps can be read from it ({error}): choose one of the vit, deit, "
            "beit, eva, dinov2, dinov3 or hybrid families, or a CNN"
        ) from None
