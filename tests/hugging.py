"""Vision models of `transformers`: a few thousand weights each, by the family that docs/coverage.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import tiny

transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed")
BODY = {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 48,
        "image_size": 32, "patch_size": 8}  # fmt: skip


def _plain(name: str, kind: str = "", **sizes: Any) -> Callable[..., Any]:
    """`kind` is the model's class where it is not NAMEForImageClassification."""

    def build(**options: Any) -> Any:
        config = getattr(transformers, f"{name}Config")(**BODY | {"num_labels": 5} | sizes | options)
        return getattr(transformers, kind or f"{name}ForImageClassification")(config)

    return build


def _two_towers(name: str) -> Callable[..., Any]:
    def build(layers: int = 4, **options: Any) -> Any:
        config = getattr(transformers, f"{name}Config")(
            vision_config=BODY | {"num_hidden_layers": layers},
            text_config={"bos_token_id": None, "eos_token_id": None},
            num_labels=5,
            **options,
        )
        return getattr(transformers, f"{name}ForImageClassification")(config)

    return build


FAMILIES: dict[str, Callable[..., Any]] = {
    "ViT": _plain("ViT"),
    "ViT MSN": _plain("ViTMSN"),
    "DeiT": _plain("DeiT"),
    "DeiT, distilled": _plain("DeiT", "DeiTForImageClassificationWithTeacher"),
    "DINOv2": _plain("Dinov2"),
    "DINOv2, registers": _plain("Dinov2WithRegisters", num_register_tokens=4),
    "SigLIP": _two_towers("Siglip"),
    "CLIP": _two_towers("CLIP"),
    "MetaCLIP 2": _two_towers("MetaClip2"),
    "I-JEPA": _plain("IJepa"),
    "BEiT": _plain("Beit", use_relative_position_bias=True),
    "BEiT, from its token": _plain("Beit", use_mean_pooling=False, use_absolute_position_embeddings=True),
}


def model(family: str, attention: str = "sdpa", **options: Any) -> Any:
    """A classifier of five classes with weights that attend; the same for every kind of attention."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return tiny.awake(FAMILIES[family](attn_implementation=attention, **options))
