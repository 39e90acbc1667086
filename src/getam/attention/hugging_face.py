"""Hugging Face `transformers` vision models, recognised by what they are: the package itself is never imported.

Their modules carry a `config`, and attention goes through one interface, named by `config._attn_implementation`: "sdpa"
calls `F.scaled_dot_product_attention`; "eager" multiplies by hand, and the matrix passes `F.dropout`.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from getam.errors import CaptureError

KERNEL, BY_HAND = "sdpa", "eager"
TOKENS = (
    "cls_token",
    "class_embedding",
    "distillation_token",
    "register_tokens",
)  # of an embedding, (…, tokens, D)
READS = {  # where a model's own head reads the class score; "" where its configuration says so
    "ViTForImageClassification": "cls",
    "ViTMSNForImageClassification": "cls",
    "DeiTForImageClassification": "cls",
    "DeiTForImageClassificationWithTeacher": "cls",
    "Dinov2ForImageClassification": "cls+patches",
    "Dinov2WithRegistersForImageClassification": "cls+patches",
    "SiglipForImageClassification": "patches",
    "CLIPForImageClassification": "patches",
    "MetaClip2ForImageClassification": "patches",
    "IJepaForImageClassification": "patches",
    "BeitForImageClassification": "",
}


@dataclass(frozen=True)
class Tower:
    """A vision transformer: prefix tokens, (height, width) of a patch, the one photo size it takes, and its rows."""

    prefix: int
    patch: tuple[int, int]
    fixed: tuple[int, int] | None
    rows: str


def attends(module: nn.Module) -> bool:
    """Whether a module is an attention of `transformers` that is not causal."""
    own = vars(module)
    return own.get("is_causal") is False and hasattr(own.get("config"), "_attn_implementation")


def by_hand(name: str, module: Any) -> bool:
    """Whether an attention makes its matrix, which can be read, or calls the kernel, whose inputs can.

    Raises:
        CaptureError: it does neither.
    """
    how = module.config._attn_implementation or BY_HAND
    if how not in (KERNEL, BY_HAND):
        raise CaptureError(
            f"{name} computes its attention by {how!r}, which cannot be read: call "
            f"model.set_attn_implementation({KERNEL!r}) first"
        )
    return bool(how == BY_HAND)


def tower(modules: Sequence[Any]) -> Tower | None:
    """The vision transformer among the modules of a model, from the model down; None where there is none."""
    for module in modules:
        config: Any = getattr(module, "config", None)
        embeddings = getattr(module, "embeddings", None)
        if (
            isinstance(embeddings, nn.Module)
            and isinstance(getattr(config, "model_type", None), str)
            and hasattr(config, "patch_size")
            and hasattr(config, "image_size")
        ):
            size = _pair(config.image_size) if _one_size(embeddings, config) else None
            return Tower(_prefix(embeddings), _pair(config.patch_size), size, _rows(modules, config))
    return None


def _prefix(embeddings: Any) -> int:
    tokens = [getattr(embeddings, name, None) for name in TOKENS]
    return sum(1 if token.ndim == 1 else int(token.shape[1]) for token in tokens if token is not None)


def _one_size(embeddings: nn.Module, config: Any) -> bool:
    """Those that stretch their positions to any photo do so unasked; the others have an option for it.

    Relative positions (BEiT's) belong to one grid.
    """
    relative = (getattr(config, f"use_{kind}relative_position_bias", False) for kind in ("", "shared_"))
    return "interpolate_pos_encoding" in inspect.signature(embeddings.forward).parameters or any(relative)


def _rows(modules: Sequence[Any], config: Any) -> str:
    kinds = [kind.__name__ for module in modules for kind in type(module).__mro__ if kind.__name__ in READS]
    if kinds and not READS[kinds[0]]:
        return "patches" if config.use_mean_pooling else "cls"
    return READS[kinds[0]] if kinds else ""


def _pair(side: int | Sequence[int]) -> tuple[int, int]:
    return (side, side) if isinstance(side, int) else (int(side[0]), int(side[1]))
