"""Every family of `getam.nets.families`, small enough to be tested, and docs/coverage.md, printed from the same table.

`PYTHONPATH=src:tests python tests/families.py > docs/coverage.md`
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.models.cait import Cait
from timm.models.convit import ConVit
from timm.models.pit import PoolingVisionTransformer
from timm.models.tnt import TNT
from timm.models.vitamin import VitCfg, VitConvCfg
from timm.models.volo import VOLO
from torch import nn

from getam.nets import families
from getam.nets.families import CHECKED, ELSEWHERE, GETAM, NO_ROW, TRANSFORMERS, WITHOUT_ATTENTION

PATCH_32 = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 3, "num_classes": 5}


@dataclass(frozen=True)
class Family(families.Family):
    """A family that works, and its smallest honest relative."""

    side: int = 32
    build: Callable[..., nn.Module] | None = None

    def make(self) -> nn.Module:
        """The family's own entry point with small sizes, or its class where the entry point takes none."""
        options = {**({} if self.build else PATCH_32), **self.options}
        return self.build(**options) if self.build else timm.create_model(self.model, **options)


@dataclass(frozen=True)
class Excluded(families.Family):
    """A family without a row to read, as its entry point builds it."""

    def make(self) -> nn.Module:
        """On the meta device: no error needs a number."""
        with torch.device("meta"):
            return timm.create_model(self.model, **self.options).eval()


SMALL_STEM = VitCfg(
    embed_dim=(8, 12, 24), depths=(1, 1, 1), stem_width=8,
    conv_cfg=VitConvCfg(norm_layer="layernorm2d", norm_eps=1e-6), head_type="1d",
)  # fmt: skip
SMALL: dict[str, dict[str, Any]] = {  # where PATCH_32 is not what makes a family small
    "DINOv2": {"options": {"img_size": 42, "patch_size": 14}},
    "DINOv2, registers": {"options": {"img_size": 42, "patch_size": 14}},
    "hybrid, one convolution": {"side": 64, "options": {"img_size": 64, "patch_size": 8}},
    "hybrid, ResNet-26": {"side": 64, "options": {"img_size": 64, "patch_size": 1}},
    "hybrid, ResNet-50": {"side": 32, "options": {"img_size": 32, "patch_size": 1}},
    "Perception Encoder": {"options": {"attn_pool_num_heads": 3}},
    "Sapiens 2, grouped queries": {"options": {"num_kv_heads": (3, 1, 1, 3)}},
    "NaFlexViT": {"options": {"img_size": None}},
    "NaFlexViT, pooling attention": {"options": {"img_size": None}},
    "Gemma 4": {"options": {"head_dim": 8, "intermediate_size": 48, "position_embedding_size": 16}},
    "ViTamin": {"side": 64, "options": {"img_size": 64, "patch_size": 1, "embed_cfg": SMALL_STEM}},
    "CaiT": {"options": PATCH_32 | {"init_values": 0.5}, "build": Cait},
    "ConViT": {"options": PATCH_32 | {"embed_dim": 8, "local_up_to_layer": 3}, "build": ConVit},
    "TNT": {
        "options": {
            "img_size": 32,
            "patch_size": 8,
            "embed_dim": 24,
            "inner_dim": 8,
            "depth": 4,
            "num_heads_inner": 2,
            "num_heads_outer": 3,
            "num_classes": 5,
        },
        "build": TNT,
    },
    "PiT": {
        "options": {
            "img_size": 32,
            "patch_size": 8,
            "stride": 4,
            "base_dims": (8, 8, 8),
            "depth": (1, 1, 2),
            "heads": (1, 2, 4),
            "num_classes": 5,
        },
        "build": PoolingVisionTransformer,
    },
    "PiT, distilled": {
        "options": {
            "img_size": 32,
            "patch_size": 8,
            "stride": 4,
            "base_dims": (8, 8),
            "depth": (1, 2),
            "heads": (2, 4),
            "num_classes": 5,
            "distilled": True,
        },
        "build": PoolingVisionTransformer,
    },
    "VOLO": {
        "side": 64,
        "options": {
            "layers": (1, 1, 1, 1),
            "img_size": 64,
            "num_classes": 5,
            "stem_hidden_dim": 8,
            "embed_dims": (12, 24, 24, 24),
            "num_heads": (2, 3, 3, 3),
        },
        "build": VOLO,
    },
}
WORKS = [Family(**vars(family) | SMALL.get(family.name, {})) for family in GETAM]
EXCLUDED = [Excluded(**vars(family)) for family in NO_ROW]

INTRODUCTION = """# Which models have a map

Printed from the table that `getam models` shows, with sizes, licences and what to type (`PYTHONPATH=src:tests python
tests/families.py > docs/coverage.md`); a test keeps the page and the table the same. Each family that works is held
against its materialised N×N matrices, at a small size and with random weights; each that does not is tested to say so
in one `CaptureError`.

**Rows**: `cls`, the class token's; `patches`, the mean over all patches (average-pooled scores); `cls+patches`, the
mean of both (DINOv2's head reads the token beside the mean of the patches); `pool`, the pooling attention's. They are
derived from the model and recorded in `Maps.rows`.

**Blocks**: those before `start` (half of all attentions) never count. Where only some have the row, the others add
nothing: before the class token joins there is no row of it, and in PiT earlier rows lie over a finer grid.

## GETAM
"""
AFTER = """
Models of `transformers` are recognised by their configuration, with `attn_implementation` "sdpa" or "eager", and held
against `output_attentions` of the eager path; flash and flex attention are refused with the remedy. A model of yours
around any of these works too: the geometry is taken from the part that knows it; a head of yours on a body of
`transformers` names the `rows` it reads.

## `last-stage`, for models whose grid shrinks

Not GETAM: the same coupling, read in the last stage alone, where windows are as wide as the grid (`photo ÷ 32`), and
averaged over its rows. It works where that attention goes through the kernel or timm's `attn_drop`: tested on Swin,
Swin v2, PVT v2, and run once on the others the table below names it for; where it does not, one `CaptureError` says so.

## No GETAM map, and why

| family | timm module | representative | why not | read by |
|---|---|---|---|---|
"""


def table() -> str:
    """docs/coverage.md."""
    text = (
        INTRODUCTION
        + "\n| family | timm module | representative | rows | blocks | grid |\n|---|---|---|---|---|---|\n"
    )
    for f in WORKS:
        blocks = "the pooling attention" if f.rows == "pool" else f.blocks
        text += f"| {f.name} | {f.module} | `{f.model}` | {f.rows} | {blocks} | {f.grid} |\n"
    for f in (*TRANSFORMERS, *ELSEWHERE):
        text += f"| {f.name} | (`{f.module}`) | `{f.model}` | {f.rows} | {f.blocks} | {f.grid} |\n"
    text += AFTER
    for e in EXCLUDED:
        text += f"| {e.name} | {e.module} | `{e.model}` | {e.reason} | `{e.method}` |\n"
    checked = ".".join(map(str, CHECKED))
    others = ", ".join(f"{f.module} (`{f.model}`)" for f in WITHOUT_ATTENTION)
    last = (
        f"timm's other modules, up to {checked}, have no attention between patches. Their features have class "
        f"activation maps (`--method gradcam` and its relatives): {others}."
    )
    return f"{text}\n{textwrap.fill(last, 118, break_on_hyphens=False)}\n"


if __name__ == "__main__":
    print(table(), end="")
