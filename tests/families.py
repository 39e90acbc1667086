"""timm's families with attention, in two tables: where GETAM has a row to read, and where it has none, and why.

`CHECKED` is the last timm release whose modules were all sorted; `docs/coverage.md` is printed from these tables
(`PYTHONPATH=src:tests python tests/families.py > docs/coverage.md`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
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

CHECKED = (1, 0, 31)
PATCH_32 = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 3, "num_classes": 5}


@dataclass(frozen=True)
class Family:
    """A family that works: its smallest honest relative, and what is expected of the map."""

    name: str
    module: str
    model: str
    rows: str = "cls"
    blocks: str = "all"
    grid: str = "photo ÷ patch"
    side: int = 32
    options: dict[str, Any] = field(default_factory=dict)
    build: Callable[..., nn.Module] | None = None

    def make(self) -> nn.Module:
        """The family's own entry point with small sizes, or its class where the entry point takes none."""
        options = {**({} if self.build else PATCH_32), **self.options}
        return self.build(**options) if self.build else timm.create_model(self.model, **options)


@dataclass(frozen=True)
class Excluded:
    """A family without a row to read, as its entry point builds it, and why."""

    name: str
    module: str
    model: str
    reason: str
    options: dict[str, Any] = field(default_factory=dict)

    def make(self) -> nn.Module:
        """On the meta device: no error needs a number."""
        with torch.device("meta"):
            return timm.create_model(self.model, **self.options).eval()


def _small(name: str, module: str, model: str, rows: str = "cls", **options: Any) -> Family:
    return Family(name, module, model, rows, options=options)


VIT, EVA = "vision_transformer", "eva"
SMALL_STEM = VitCfg(
    embed_dim=(8, 12, 24), depths=(1, 1, 1), stem_width=8,
    conv_cfg=VitConvCfg(norm_layer="layernorm2d", norm_eps=1e-6), head_type="1d",
)  # fmt: skip
WORKS = [
    _small("ViT", VIT, "vit_tiny_patch16_224"),
    _small("ViT, average-pooled", VIT, "vit_base_patch16_gap_224", "patches"),
    _small("ViT, registers, average-pooled", VIT, "vit_medium_patch16_reg4_gap_256", "patches"),
    _small("ViT, residual post-norm", VIT, "vit_base_patch16_rpn_224", "patches"),
    _small("ViT, parallel blocks", VIT, "vit_small_patch16_18x2_224"),
    _small("ViT, parallel MLP", VIT, "vit_base_patch16_xp_224"),
    _small("FlexiViT", VIT, "flexivit_small"),
    _small("CLIP", VIT, "vit_base_patch32_clip_224"),
    _small("SigLIP, SigLIP 2", VIT, "vit_base_patch16_siglip_224", "pool"),
    _small("SigLIP, average-pooled", VIT, "vit_base_patch16_siglip_gap_224", "patches"),
    _small("SO150M", VIT, "vit_so150m_patch16_reg4_map_256", "pool"),
    _small("pooling attention over registers too", VIT, "test_vit3", "pool"),
    _small("DINOv2", VIT, "vit_small_patch14_dinov2", img_size=42, patch_size=14),
    _small("DINOv2, registers", VIT, "vit_small_patch14_reg4_dinov2", img_size=42, patch_size=14),
    _small("TIPSv2", VIT, "vit_base_patch14_reg1_tipsv2"),
    _small("AIMv2", VIT, "aimv2_large_patch14_224", "patches"),
    _small("InternViT", VIT, "vit_intern300m_patch14_448"),
    _small("BEiT-3", VIT, "beit3_base_patch16_224", "patches"),
    _small("C-RADIO", VIT, "vit_base_patch16_radio_v3"),
    _small("DeiT", "deit", "deit_tiny_patch16_224"),
    _small("DeiT, distilled", "deit", "deit_tiny_distilled_patch16_224"),
    _small("DeiT-3", "deit", "deit3_small_patch16_224"),
    Family("hybrid, one convolution", "vision_transformer_hybrid", "vit_tiny_r_s16_p8_224", grid="photo ÷ 32", side=64,
           options={"img_size": 64, "patch_size": 8}),
    Family("hybrid, ResNet-26", "vision_transformer_hybrid", "vit_small_r26_s32_224", grid="photo ÷ 32", side=64,
           options={"img_size": 64, "patch_size": 1}),
    Family("hybrid, ResNet-50", "vision_transformer_hybrid", "vit_base_r50_s16_224", grid="photo ÷ 16", side=32,
           options={"img_size": 32, "patch_size": 1}),
    _small("BEiT", "beit", "beit_base_patch16_224", "patches"),
    _small("BEiT v2, from its token", "beit", "beitv2_base_patch16_224", global_pool="token"),
    _small("EVA", EVA, "eva_giant_patch14_224", "patches"),
    _small("EVA-02", EVA, "eva02_tiny_patch14_224", "patches"),
    _small("EVA-02 CLIP", EVA, "eva02_base_patch16_clip_224"),
    _small("ViT with RoPE", EVA, "vit_medium_patch16_rope_reg1_gap_256", "patches"),
    _small("ViT with mixed RoPE", EVA, "vit_small_patch16_rope_mixed_224"),
    _small("Perception Encoder", EVA, "vit_pe_core_base_patch16_224", "pool", attn_pool_num_heads=3),
    _small("DINOv3", EVA, "vit_small_patch16_dinov3", "patches"),
    _small("DINOv3, from its token", EVA, "vit_small_patch16_dinov3", global_pool="token"),
    _small("Sapiens 2, grouped queries", EVA, "vit_base_patch16_sapiens2", num_kv_heads=(3, 1, 1, 3)),
    _small("LingBot", EVA, "vit_small_patch16_lingbot"),
    _small("ViT, relative positions", "vision_transformer_relpos", "vit_relpos_medium_patch16_224", "patches"),
    _small("ViT, relative positions, token", "vision_transformer_relpos", "vit_relpos_base_patch16_cls_224"),
    Family("NaFlexViT", "naflexvit", "naflexvit_base_patch16_gap", "patches",
           options={"img_size": None}),
    Family("NaFlexViT, pooling attention", "naflexvit", "naflexvit_base_patch16_map", "pool",
           options={"img_size": None}),
    Family("Gemma 4", "gemma4_vit", "gemma4_vit_167m", "patches",
           options={"head_dim": 8, "intermediate_size": 48, "position_embedding_size": 16}),
    _small("Qwen 3 VL", "qwen3_vit", "qwen3_vit_88m", "patches"),
    _small("DeepSeek-V4 vision", "deepseek_vit", "deepseek_vit_412m", "patches"),
    Family("ViTamin", "vitamin", "vitamin_small_224", "patches", grid="photo ÷ 16", side=64,
           options={"img_size": 64, "patch_size": 1, "embed_cfg": SMALL_STEM}),
    Family("CaiT", "cait", "cait_xxs24_224", blocks="the class-attention blocks",
           options=PATCH_32 | {"init_values": 0.5}, build=Cait),
    Family("ConViT", "convit", "convit_tiny", blocks="the blocks after the token has joined",
           options=PATCH_32 | {"embed_dim": 8, "local_up_to_layer": 3}, build=ConVit),
    Family("TNT", "tnt", "tnt_s_patch16_224", blocks="the outer attention of each",
           options={"img_size": 32, "patch_size": 8, "embed_dim": 24, "inner_dim": 8, "depth": 4,
                    "num_heads_inner": 2, "num_heads_outer": 3, "num_classes": 5}, build=TNT),
    Family("PiT", "pit", "pit_ti_224", blocks="those of the last stage",
           grid="the last one, 7×7 of 224",
           options={"img_size": 32, "patch_size": 8, "stride": 4, "base_dims": (8, 8, 8), "depth": (1, 1, 2),
                    "heads": (1, 2, 4), "num_classes": 5}, build=PoolingVisionTransformer),
    Family("PiT, distilled", "pit", "pit_ti_distilled_224", blocks="those of the last stage",
           grid="the last one, 7×7 of 224",
           options={"img_size": 32, "patch_size": 8, "stride": 4, "base_dims": (8, 8), "depth": (1, 2),
                    "heads": (2, 4), "num_classes": 5, "distilled": True}, build=PoolingVisionTransformer),
    Family("VOLO", "volo", "volo_d1_224", blocks="the class-attention blocks",
           grid="photo ÷ 16", side=64,
           options={"layers": (1, 1, 1, 1), "img_size": 64, "num_classes": 5, "stem_hidden_dim": 8,
                    "embed_dims": (12, 24, 24, 24), "num_heads": (2, 3, 3, 3)}, build=VOLO),
]  # fmt: skip

CONVOLUTIONAL = "attends only in the coarse last stages of a convolutional network"
WINDOWS = "attention inside windows of a shrinking grid: no query sees every patch"
EXCLUDED = [
    Excluded("ViT, differential", VIT, "vit_dlittle_patch16_reg1_gap_256",
             "each block subtracts two attention matrices"),
    Excluded("ViT, refined patches (PRR)", VIT, "vit_tiny_patch16_224",
             "refines the patches by another attention before pooling",
             {"global_pool": "prr"}),
    Excluded("SAM", "vision_transformer_sam", "samvit_base_patch16",
             "two thirds of the blocks attend inside windows; heads are folded into the batch"),
    Excluded("CrossViT", "crossvit", "crossvit_9_240",
             "two branches with a grid each; the score averages two class tokens"),
    Excluded("XCiT", "xcit", "xcit_nano_12_p16_224",
             "attends over channels: only its two class-attention blocks have a row"),
    Excluded("CoaT", "coat", "coat_lite_tiny", "factorised attention: no matrix between patches exists"),
    Excluded("MViT v2", "mvitv2", "mvitv2_tiny", "queries and keys are pooled to different grids in each stage"),
    Excluded("MViT v2, class token", "mvitv2", "mvitv2_base_cls",
             "queries and keys are pooled to different grids in each stage"),
    Excluded("Swin", "swin_transformer", "swin_tiny_patch4_window7_224", WINDOWS),
    Excluded("Swin v2", "swin_transformer_v2", "swinv2_tiny_window8_256", WINDOWS),
    Excluded("Swin v2 CR", "swin_transformer_v2_cr", "swinv2_cr_tiny_224", WINDOWS),
    Excluded("MaxViT, CoAtNet", "maxxvit", "maxvit_rmlp_pico_rw_256", WINDOWS),
    Excluded("Twins", "twins", "twins_svt_small", WINDOWS),
    Excluded("Hiera", "hiera", "hiera_tiny_224", WINDOWS),
    Excluded("Hiera of SAM 2", "hieradet_sam2", "sam2_hiera_tiny", WINDOWS),
    Excluded("DaViT", "davit", "davit_tiny", WINDOWS),
    Excluded("GC ViT", "gcvit", "gcvit_xxtiny", WINDOWS),
    Excluded("TinyViT", "tiny_vit", "tiny_vit_5m_224", WINDOWS),
    Excluded("NesT", "nest", "nest_tiny", WINDOWS),
    Excluded("EfficientViT (MSRA)", "efficientvit_msra", "efficientvit_m0", WINDOWS),
    Excluded("PVT v2", "pvt_v2", "pvt_v2_b0", "keys are pooled to a coarser grid in all stages but the last"),
    Excluded("NextViT", "nextvit", "nextvit_small", "keys are pooled to a coarser grid"),
    Excluded("EfficientViT (MIT)", "efficientvit_mit", "efficientvit_b0",
             "linear attention: no matrix between patches exists"),
    Excluded("MobileViT", "mobilevit", "mobilevit_xxs",
             "attends between patches at equal offsets only, on three grids"),
    Excluded("EdgeNeXt", "edgenext", "edgenext_xx_small", "attends over channels, not over patches"),
    Excluded("SwiftFormer", "swiftformer", "swiftformer_xs",
             "additive attention: no matrix between patches exists"),
    Excluded("EfficientViM", "efficientvim", "efficientvim_m1",
             "state-space mixing: no matrix between patches exists"),
    Excluded("LeViT", "levit", "levit_128s", "three shrinking grids, average-pooled"),
    Excluded("Visformer", "visformer", "visformer_tiny", CONVOLUTIONAL),
    Excluded("EfficientFormer", "efficientformer", "efficientformer_l1", CONVOLUTIONAL),
    Excluded("EfficientFormer v2", "efficientformer_v2", "efficientformerv2_s0", CONVOLUTIONAL),
    Excluded("CAFormer", "metaformer", "caformer_s18", CONVOLUTIONAL),
    Excluded("FastViT", "fastvit", "fastvit_sa12", CONVOLUTIONAL),
    Excluded("iFormer", "iformer", "iformer_t", CONVOLUTIONAL),
    Excluded("LowFormer", "lowformer", "lowformer_b0", CONVOLUTIONAL),
    Excluded("CPUBone", "cpubone", "cpubone_b0_bfrobust", CONVOLUTIONAL),
    Excluded("CSATv2", "csatv2", "csatv2", CONVOLUTIONAL),
    Excluded("SHViT", "shvit", "shvit_s1", CONVOLUTIONAL),
    Excluded("BoTNet, HaloNet, LambdaNet", "byoanet", "botnet26t_256", CONVOLUTIONAL),
    Excluded("CLIP ResNet", "byobnet", "resnet50_clip", "a convolutional network; only its pooling attends"),
    Excluded("MobileNet v4 hybrid", "mobilenetv3", "mobilenetv4_hybrid_medium", CONVOLUTIONAL),
    Excluded("MobileNet v5", "mobilenetv5", "mobilenetv5_base", CONVOLUTIONAL),
]  # fmt: skip
WITHOUT_ATTENTION = """
convmixer convnext cspnet cspnext densenet dla dpn efficientnet fasternet focalnet ghostnet hardcorenas hgnet
hrnet inception_next inception_resnet_v2 inception_v3 inception_v4 lcnetv2 mambaout mlp_mixer nasnet nfnet
pnasnet rdnet regnet repghost repvit res2net resnest resnet resnetv2 rexnet selecsls senet sequencer sknet
starnet tresnet vgg vovnet xception xception_aligned
""".split()  # noqa: SIM905 (none between patches: convolutions, mixers, and gates over channels)

INTRODUCTION = """# Which models have a map

Printed from the tables of the tests (`PYTHONPATH=src:tests python tests/families.py > docs/coverage.md`); a test keeps
the page and the tables the same. Each family that works is held against its materialised N×N matrices, at a small size
and with random weights; each that does not is tested to say so in one `CaptureError`.

**Rows**: `cls`, the class token's; `patches`, the mean over all patches (average-pooled scores); `pool`, the pooling
attention's. They are derived from the model and recorded in `Maps.rows`.

**Blocks**: those before `start` (half of all attentions) never count. Where only some have the row, the others add
nothing: before the class token joins there is no row of it, and in PiT earlier rows lie over a finer grid.

## GETAM
"""
ELSEWHERE = """| torchvision ViT | (`nn.MultiheadAttention`) | `vit_b_16` | cls | all | photo ÷ patch |
| OpenCLIP visual towers | (`nn.MultiheadAttention`) | `ViT-B-32` | cls, patches | all | photo ÷ patch |

A model of yours around any of these works too: the geometry is taken from the part that knows it.

## `last-stage`, for models whose grid shrinks

Not GETAM: the same coupling, read in the last stage alone, where windows are as wide as the grid (`photo ÷ 32`), and
averaged over its rows. It works where that attention goes through the kernel or timm's `attn_drop`: tested on Swin,
Swin v2, PVT v2; where it does not, one `CaptureError` says so.

## No GETAM map, and why

| family | timm module | representative | why not |
|---|---|---|---|
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
    text += ELSEWHERE
    for e in EXCLUDED:
        text += f"| {e.name} | {e.module} | `{e.model}` | {e.reason} |\n"
    checked = ".".join(map(str, CHECKED))
    return text + f"\ntimm's other modules, up to {checked}, have no attention between patches.\n"


if __name__ == "__main__":
    print(table(), end="")
