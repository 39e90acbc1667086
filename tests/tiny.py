"""Models of a few thousand weights and photos of a few hundred pixels, for tests of every room."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.layers import HybridEmbed
from timm.models.beit import Beit
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from getam.nets.encoder import ConvStem, HybridEncoder, VitEncoder
from getam.nets.network import Network
from getam.nets.segmenter import Segmenter

CLASSES = ("cat", "dog", "cow")


def awake(model: nn.Module) -> Any:
    """Weights large enough for attention that is not uniform; eval mode."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 or name.endswith(("bias", "gamma", "gamma_1", "gamma_2", "table")):
                parameter.normal_(0, 0.25, generator=generator)
    return model.eval()


def vit(kind: type[nn.Module] = VisionTransformer, **options: Any) -> Any:
    """A vision transformer of 4 blocks, width 24, 3 heads, 8-pixel patches on 32-pixel photos, 5 classes."""
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 3, "num_classes": 5}
    return awake(kind(**{**sizes, **options}))


class Cnn(nn.Module):
    """Three resolutions, activations in place, batch norm, average pooling and a linear head."""

    def __init__(self, channels: tuple[int, ...] = (4, 6, 8), classes: int = 5) -> None:
        super().__init__()
        sides = (3, *channels)
        self.features = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU(inplace=True))
                for a, b in zip(sides, channels)
            )
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B,5) scores."""
        return self.head(self.pool(self.features(images)).flatten(1))


def cnn() -> Any:
    """A `Cnn` that is awake."""
    return awake(Cnn())


def hybrid_vit() -> Any:
    """As timm's `vit_*_r*`: a convolutional stem with batch norm, then 1×1 patches."""
    stem = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1))
    return vit(patch_size=1, embed_layer=partial(HybridEmbed, backbone=stem))


def hybrid_segmenter(classes: tuple[str, ...] = CLASSES) -> Segmenter:
    """Our network on three strided convolutions and 4 blocks."""
    dims = (8, 12, 16)
    encoder = HybridEncoder(ConvStem(dims), dims, 8, width=24, depth=4, heads=3, grid=4)
    return awake(Segmenter(encoder, classes, (8, 8, 12, 12), 8, 1))


def vit_segmenter(classes: tuple[str, ...] = CLASSES, **options: Any) -> Segmenter:
    """Our network on a plain vision transformer."""
    model = vit(num_classes=0, **{"dynamic_img_size": True, **options})
    return awake(Segmenter(VitEncoder(model), classes, (8, 8, 12, 12), 8, 1))


MODELS: dict[str, Any] = {
    "plain": vit,
    "odd depth": partial(vit, depth=3),
    "distilled, 2 prefix tokens": partial(vit, VisionTransformerDistilled),
    "4 registers": partial(vit, reg_tokens=4, no_embed_class=True, init_values=1.0),
    "patch 14": partial(vit, img_size=42, patch_size=14),
    "hybrid": hybrid_vit,
    "relative position bias, averaged": partial(vit, Beit, use_abs_pos_emb=False, use_rel_pos_bias=True),
    "relative position bias, token": partial(vit, Beit, use_rel_pos_bias=True, global_pool="token"),
    "rotary": partial(vit, Eva, use_rot_pos_emb=True, global_pool="token"),
    "averaged": partial(vit, global_pool="avg"),
    "averaged without token": partial(vit, global_pool="avg", class_token=False),
    "query and key norm": partial(vit, qk_norm=True),
    "segmenter, hybrid": hybrid_segmenter,
    "segmenter, plain": vit_segmenter,
    "segmenter, distilled": partial(vit_segmenter, kind=VisionTransformerDistilled),
}


def photos(batch: int, height: int = 32, width: int = 32, model: nn.Module | None = None) -> Tensor:
    """(B,3,H,W): normal values, or 0–255 where the model is a network of ours."""
    images = torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(batch))
    return (images * 60 + 127).clamp(0, 255) if isinstance(model, Network) else images


COLOURS = {"red": (220, 40, 30), "blue": (30, 50, 220)}


def write_scenes(folder: Path, count: int = 6, size: tuple[int, int] = (40, 48)) -> Path:
    """Photos of coloured squares on noise, their tags.csv, and their masks with classes.txt in `truth`; VOC-free."""
    from getam.data.masks import write_classes, write_mask

    random = np.random.default_rng(0)
    names = sorted(COLOURS)
    lines = ["image,tags"]
    (folder / "photos").mkdir(parents=True)
    write_classes(folder / "truth", names)
    for index in range(count):
        pixels = random.integers(90, 150, (*size, 3)).astype(np.uint8)
        label = np.zeros(size, np.uint8)
        shown = [[names[0]], [names[1]], names][index % 3]
        for name in shown:
            side, number = 14, names.index(name)
            top, left = random.integers(0, size[0] - side), number * size[1] // 2 + random.integers(0, 8)
            pixels[top : top + side, left : left + side] = COLOURS[name]
            label[top : top + side, left : left + side] = number + 1
        Image.fromarray(pixels).save(folder / "photos" / f"scene{index}.png")
        write_mask(folder / "truth" / f"scene{index}.png", label)
        lines.append(f"scene{index}.png,{';'.join(shown)}")
    (folder / "tags.csv").write_text("\n".join(lines) + "\n")
    return folder
