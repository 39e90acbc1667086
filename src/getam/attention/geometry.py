"""Where the patches of a model's attentions lie, and which row reads the class score: derived from the model."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

from torch import nn

from getam.attention.hugging_face import Tower, tower
from getam.errors import CaptureError, InputError

ROWS = {  # by timm's `global_pool` and OpenCLIP's `pool_type`; any other leaves the row open
    "token": "cls",
    "tok": "cls",
    "map": "pool",
    "avg": "patches",
    "avgmax": "patches",
    "max": "patches",
}


@dataclass(frozen=True)
class Geometry:
    """Where the patches of a model's attentions lie.

    `prefix` tokens (CLS, distillation, registers) come first, then `grid` = (h, w) patches row by row; `rows` says
    which query rows read the class score: "cls" (from a token), "patches" (average-pooled), "cls+patches" (both, side
    by side), "pool" (pooling attention), "" where the model does not say. `start` is the first block that counts in the
    maps by default; None: half of them.
    """

    prefix: int
    grid: tuple[int, int]
    rows: str
    start: int | None = None

    @property
    def tokens(self) -> int:
        """Prefix tokens and patches: the N of every attention."""
        return self.prefix + self.grid[0] * self.grid[1]


def geometry(model: nn.Module, height: int, width: int) -> Geometry:
    """Derive the token geometry of `model` for photos of `height` × `width` pixels.

    A network of ours answers through its own `geometry` method; a timm model through `num_prefix_tokens`,
    `global_pool` and the `dynamic_feat_size` of its patch embedding, wherever in the model that is; one of
    `transformers` through its `config`; torchvision's and OpenCLIP's through `patch_size`, `image_size` and their class
    token.

    Raises:
        CaptureError: the model does not say where its patches are.
        InputError: the model takes photos of another size, or multiples of its patch only.
    """
    if callable(own := getattr(model, "geometry", None)):
        return own(height, width)
    modules: list[Any] = list(model.modules())
    embeds = [place for place, module in enumerate(modules) if hasattr(type(module), "dynamic_feat_size")]
    if len(embeds) == 1:  # above it, from the model down, the outermost answer counts
        return _timm(modules[: embeds[0]], modules[embeds[0]], height, width)
    if not embeds and (found := tower(modules)) is not None:
        return _hugging_face(found, height, width)
    for module in modules if not embeds else []:
        token = getattr(module, "class_token", getattr(module, "class_embedding", None))
        if token is not None and hasattr(module, "image_size") and hasattr(module, "patch_size"):
            return _with_class_token(module, height, width)
        if hasattr(module, "get_patch_size"):
            return _of_patches(module, height, width)
        if getattr(module, "cls_token", None) is not None and getattr(module, "feature_info", None):
            return _last_stage(module, height, width)
    raise CaptureError(
        f"{type(model).__name__} has no patch_embed with a known grid: GETAM reads global attention over one patch "
        "grid (convolutional, windowed, multi-scale and channel-attention models have none); --method gradcam reads "
        "features instead"
    )


def _timm(outer: list[Any], embed: Any, height: int, width: int) -> Geometry:
    """A timm model by its patch embedding and the modules around that."""
    prefix = next((m.num_prefix_tokens for m in outer if hasattr(m, "num_prefix_tokens")), 0)
    pool = next((m.global_pool for m in outer if isinstance(getattr(m, "global_pool", None), str)), "")
    grid = embed.dynamic_feat_size((height, width))
    place = Geometry(int(prefix), (int(grid[0]), int(grid[1])), _rows(pool, prefix))
    if getattr(embed, "dynamic_img_pad", False):
        return place
    if getattr(embed, "strict_img_size", False) and (fixed := getattr(embed, "img_size", None)):
        _require_size(fixed, height, width, "resize, or build the model with dynamic_img_size=True")
    else:
        _require_multiples(embed.feat_ratio(as_scalar=False), height, width)
    return place


def _hugging_face(found: Tower, height: int, width: int) -> Geometry:
    """A vision transformer of `transformers`: one photo size, or multiples of its patch."""
    if found.fixed is not None:
        _require_size(found.fixed, height, width, "resize")
    else:
        _require_multiples(found.patch, height, width)
    return Geometry(found.prefix, (height // found.patch[0], width // found.patch[1]), found.rows)


def _with_class_token(module: Any, height: int, width: int) -> Geometry:
    """torchvision's `VisionTransformer` and OpenCLIP's: one class token, one photo size."""
    sizes = (_pair(module.image_size), _pair(module.patch_size))
    _require_size(sizes[0], height, width, "resize")
    rows = "pool" if getattr(module, "attn_pool", None) else _rows(getattr(module, "pool_type", "tok"), 1)
    return Geometry(1, (height // sizes[1][0], width // sizes[1][1]), rows)


def _of_patches(module: Any, height: int, width: int) -> Geometry:
    """A timm model that names its patch size only (Gemma 4): average-pooled patches of any number."""
    down, across = module.get_patch_size()
    _require_multiples((down, across), height, width)
    return Geometry(0, (height // down, width // across), _rows(str(module.global_pool), 0))


def _last_stage(module: Any, height: int, width: int) -> Geometry:
    """A class token over a grid that shrinks (PiT, VOLO): its row lies over the last grid."""
    if fixed := getattr(module.patch_embed, "img_size", None):
        _require_size(fixed, height, width, "resize")
    stride = int(module.feature_info[-1]["reduction"])
    prefix = int(module.cls_token.shape[1])
    return Geometry(
        prefix, (ceil(height / stride), ceil(width / stride)), _rows(str(module.global_pool), prefix)
    )


def _rows(pool: str, prefix: int) -> str:
    rows = ROWS.get(pool, "")
    return "patches" if rows == "cls" and not prefix else rows


def _pair(side: int | tuple[int, int]) -> tuple[int, int]:
    return side if isinstance(side, tuple) else (side, side)


def _require_size(fixed: tuple[int, int], height: int, width: int, remedy: str) -> None:
    if (height, width) != tuple(fixed):
        raise InputError(
            f"photos are {height}×{width} but the model takes {fixed[0]}×{fixed[1]} (height×width): {remedy}"
        )


def _require_multiples(patch: tuple[int, int], height: int, width: int) -> None:
    if height % patch[0] or width % patch[1]:
        raise InputError(
            f"photos are {height}×{width} but the model's patches are {patch[0]}×{patch[1]} (height×width): resize to "
            "multiples of the patch"
        )
