"""timm's families with attention, in two tables: where GETAM has a row to read, and where it has none, and why.

`CHECKED` is the last timm release whose modules were all sorted; `docs/coverage.md` is printed from these tables
(`python tests/families.py > docs/coverage.md` with src on the path).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import timm
from timm.models.cait import Cait
from timm.models.convit import ConVit
from timm.models.pit import PoolingVisionTransformer
from timm.models.tnt import TNT
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
    side: int = 32
    options: dict[str, Any] = field(default_factory=dict)
    build: Callable[..., nn.Module] | None = None

    def make(self) -> nn.Module:
        """The family's own entry point with small sizes, or its class where the entry point takes none."""
        options = {**({} if self.build else PATCH_32), **self.options}
        return self.build(**options) if self.build else timm.create_model(self.model, **options)


def _small(name: str, module: str, model: str, rows: str = "cls", **options: Any) -> Family:
    return Family(name, module, model, rows, options=options)


VIT, EVA = "vision_transformer", "eva"
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
    Family("hybrid, one convolution", "vision_transformer_hybrid", "vit_tiny_r_s16_p8_224", side=64,
           options={"img_size": 64, "patch_size": 8}),
    Family("hybrid, ResNet-26", "vision_transformer_hybrid", "vit_small_r26_s32_224", side=64,
           options={"img_size": 64, "patch_size": 1}),
    Family("hybrid, ResNet-50", "vision_transformer_hybrid", "vit_base_r50_s16_224", side=32,
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
    Family("ViTamin", "vitamin", "vitamin_small_224", "patches", options={"img_size": 32, "patch_size": None}),
    Family("SAM, window as wide as the grid", "vision_transformer_sam", "samvit_base_patch16_224", "patches",
           options={"window_size": 4, "use_rel_pos": True, "use_abs_pos": False, "neck_chans": 12}),
    Family("CaiT", "cait", "cait_xxs24_224", blocks="the class-attention blocks",
           options=PATCH_32 | {"init_values": 0.5}, build=Cait),
    Family("ConViT", "convit", "convit_tiny", blocks="the blocks after the token has joined",
           options=PATCH_32 | {"embed_dim": 8, "local_up_to_layer": 3}, build=ConVit),
    Family("TNT", "tnt", "tnt_s_patch16_224", blocks="the outer attention of each",
           options={"img_size": 32, "patch_size": 8, "embed_dim": 24, "inner_dim": 8, "depth": 4,
                    "num_heads_inner": 2, "num_heads_outer": 3, "num_classes": 5}, build=TNT),
    Family("PiT", "pit", "pit_ti_224", blocks="those of the last stage",
           options={"img_size": 32, "patch_size": 8, "stride": 4, "base_dims": (8, 8, 8), "depth": (1, 1, 2),
                    "heads": (1, 2, 3), "num_classes": 5}, build=PoolingVisionTransformer),
    Family("PiT, distilled", "pit", "pit_ti_distilled_224", blocks="those of the last stage",
           options={"img_size": 32, "patch_size": 8, "stride": 4, "base_dims": (8, 8), "depth": (1, 2),
                    "heads": (2, 3), "num_classes": 5, "distilled": True}, build=PoolingVisionTransformer),
    Family("VOLO", "volo", "volo_d1_224", blocks="the class-attention blocks", side=64,
           options={"layers": (1, 1, 1, 1), "img_size": 64, "num_classes": 5, "stem_hidden_dim": 8,
                    "embed_dims": (12, 24, 24, 24), "num_heads": (2, 3, 3, 3)}, build=VOLO),
]  # fmt: skip

CONVOLUTIONAL = "attention only in the last, coarse stages of a convolutional network, average-pooled over several grids"
WINDOWS = "attention inside windows of a shrinking grid: no query sees every patch"
EXCLUDED = [
    ("ViT, differential", VIT, "vit_dlittle_patch16_reg1_gap_256", "each block subtracts two attention matrices"),
    ("ViT, refined patches (PRR)", VIT, "vit_tiny_patch16_224", "pools through an attention of its own, global_pool='prr'"),
    ("SAM", "vision_transformer_sam", "samvit_base_patch16", "two thirds of the blocks attend inside windows"),
    ("CrossViT", "crossvit", "crossvit_9_240", "two branches with a grid each; the score averages two class tokens"),
    ("XCiT", "xcit", "xcit_nano_12_p16_224", "attends over channels, not over patches: its blocks have no row"),
    ("CoaT", "coat", "coat_lite_tiny", "factorised attention: no matrix between patches exists"),
    ("MViT v2", "mvitv2", "mvitv2_tiny", "queries and keys are pooled to different grids in each stage"),
    ("MViT v2, class token", "mvitv2", "mvitv2_base_cls", "queries and keys are pooled to different grids in each stage"),
    ("Swin", "swin_transformer", "swin_tiny_patch4_window7_224", WINDOWS),
    ("Swin v2", "swin_transformer_v2", "swinv2_tiny_window8_256", WINDOWS),
    ("Swin v2 CR", "swin_transformer_v2_cr", "swinv2_cr_tiny_224", WINDOWS),
    ("MaxViT, CoAtNet", "maxxvit", "maxvit_rmlp_pico_rw_256", WINDOWS),
    ("Twins", "twins", "twins_svt_small", WINDOWS),
    ("Hiera", "hiera", "hiera_tiny_224", WINDOWS),
    ("Hiera of SAM 2", "hieradet_sam2", "sam2_hiera_tiny", WINDOWS),
    ("DaViT", "davit", "davit_tiny", WINDOWS),
    ("GC ViT", "gcvit", "gcvit_xxtiny", WINDOWS),
    ("TinyViT", "tiny_vit", "tiny_vit_5m_224", WINDOWS),
    ("NesT", "nest", "nest_tiny", WINDOWS),
    ("EfficientViT (MSRA)", "efficientvit_msra", "efficientvit_m0", WINDOWS),
    ("PVT v2", "pvt_v2", "pvt_v2_b0", "keys are pooled to a coarser grid in all stages but the last"),
    ("NextViT", "nextvit", "nextvit_small", "keys are pooled to a coarser grid"),
    ("EfficientViT (MIT)", "efficientvit_mit", "efficientvit_b0", "linear attention: no matrix between patches exists"),
    ("MobileViT", "mobilevit", "mobilevit_xxs", "attends between patches at equal offsets only, on three grids"),
    ("EdgeNeXt", "edgenext", "edgenext_xx_small", "attends over channels, not over patches"),
    ("SwiftFormer", "swiftformer", "swiftformer_xs", "additive attention: no matrix between patches exists"),
    ("EfficientViM", "efficientvim", "efficientvim_m1", "state-space mixing: no matrix between patches exists"),
    ("LeViT", "levit", "levit_128s", "three shrinking grids, average-pooled"),
    ("Visformer", "visformer", "visformer_tiny", CONVOLUTIONAL),
    ("EfficientFormer", "efficientformer", "efficientformer_l1", CONVOLUTIONAL),
    ("EfficientFormer v2", "efficientformer_v2", "efficientformerv2_s0", CONVOLUTIONAL),
    ("CAFormer", "metaformer", "caformer_s18", CONVOLUTIONAL),
    ("FastViT", "fastvit", "fastvit_sa12", CONVOLUTIONAL),
    ("iFormer", "iformer", "iformer_t", CONVOLUTIONAL),
    ("LowFormer", "lowformer", "lowformer_b0", CONVOLUTIONAL),
    ("CPUBone", "cpubone", "cpubone_b0", CONVOLUTIONAL),
    ("CSATv2", "csatv2", "csatv2", CONVOLUTIONAL),
    ("SHViT", "shvit", "shvit_s1", CONVOLUTIONAL),
    ("BoTNet, HaloNet, LambdaNet", "byoanet", "botnet26t_256", CONVOLUTIONAL),
    ("CLIP ResNet", "byobnet", "resnet50_clip", "a convolutional network; only its pooling attends"),
    ("MobileNet v4 hybrid", "mobilenetv3", "mobilenetv4_hybrid_medium", CONVOLUTIONAL),
    ("MobileNet v5", "mobilenetv5", "mobilenetv5_base", CONVOLUTIONAL),
]
EXCLUDED_OPTIONS: dict[str, dict[str, Any]] = {"ViT, refined patches (PRR)": {"global_pool": "prr"}}

WITHOUT_ATTENTION = """
convmixer convnext cspnet cspnext densenet dla dpn efficientnet fasternet focalnet ghostnet hardcorenas hgnet hrnet
inception_next inception_resnet_v2 inception_v3 inception_v4 lcnetv2 mambaout mlp_mixer nasnet nfnet pnasnet rdnet regnet
repghost repvit res2net resnest resnet resnetv2 rexnet selecsls senet sequencer sknet starnet tresnet vgg vovnet xception
xception_aligned
""".split()  # of patches to patches: convolutions, mixers, and gates over channels


def table() -> str:
    """docs/coverage.md."""
    lines = [
        "# Which models have a GETAM map",
        "",
        "Printed from the tables of the tests (`python tests/families.py > docs/coverage.md`, with `src` and `tests` on",
        "PYTHONPATH); a test keeps it so. Each family that works is held against the materialised N×N matrices at a small",
        "size with random weights; each one that does not is tested to say so with one `CaptureError`.",
        "",
        "Rows: `cls` the class token's, `patches` the mean over all patches (average-pooled scores), `pool` the pooling",
        "attention's. The grid is that of the patches.",
        "",
        "## Works",
        "",
        "| family | timm module | representative | rows read | blocks that have them |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {f.name} | {f.module} | `{f.model}` | {f.rows} | {f.blocks} |" for f in WORKS]
    lines += [
        "| torchvision `vit_*` | | `vit_b_16` | cls | all |",
        "| OpenCLIP visual towers | | `ViT-B-32` | cls or patches | all |",
        "",
        "Blocks before `start` (half of all attentions) never count. Where only some blocks have the row, the others have",
        "nothing to add: before the class token joins there is no row of it, and in PiT earlier rows lie over a finer grid.",
        "",
        "## Does not, and why",
        "",
        "| family | timm module | representative | why |",
        "|---|---|---|---|",
    ]
    lines += [f"| {name} | {module} | `{model}` | {reason} |" for name, module, model, reason in EXCLUDED]
    checked = ".".join(map(str, CHECKED))
    lines += ["", f"timm's other modules, up to {checked}, have no attention between patches.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(), end="")
