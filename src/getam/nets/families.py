"""Which models have maps, and how each is named: one table for `getam models`, docs/coverage.md and the tests.

`CHECKED` is the last timm release whose modules were all sorted. Parameters are in millions, counted on the
representative as its library builds it by default; a test counts them again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

CHECKED = (1, 0, 31)
CONVOLUTIONAL = "attends only in the coarse last stages of a convolutional network"
WINDOWS = "attention inside windows of a shrinking grid: no query sees every patch"


@dataclass(frozen=True)
class Family:
    """Models that are alike, by a representative.

    Attributes:
        name: of the family.
        module: of timm; or the library the models come from.
        model: the representative, as that module or library calls it.
        parameters: of the representative, in millions.
        rows: query rows of the GETAM map; "" where there is none.
        blocks: which of its attentions have that row.
        grid: of the map.
        method: the map method that reads it.
        reason: why it has no GETAM map, where it attends.
        encoder: whether every recipe of `getam train --backbone` takes it; all of timm's can be tag classifiers.
        options: what makes the representative one of this family, as `timm.create_model` takes it.
    """

    name: str
    module: str
    model: str
    parameters: float
    rows: str = ""
    blocks: str = "all"
    grid: str = "photo ÷ patch"
    method: str = "getam"
    reason: str = ""
    encoder: bool = True
    options: dict[str, Any] = field(default_factory=dict)


GETAM = [
    Family("ViT", "vision_transformer", "vit_tiny_patch16_224", 5.7, rows="cls"),
    Family("ViT, average-pooled", "vision_transformer", "vit_base_patch16_gap_224", 86.6, rows="patches"),
    Family("ViT, registers, average-pooled", "vision_transformer", "vit_medium_patch16_reg4_gap_256", 38.9,
           rows="patches"),
    Family("ViT, residual post-norm", "vision_transformer", "vit_base_patch16_rpn_224", 86.5, rows="patches"),
    Family("ViT, parallel blocks", "vision_transformer", "vit_small_patch16_18x2_224", 64.7, rows="cls"),
    Family("ViT, parallel MLP", "vision_transformer", "vit_base_patch16_xp_224", 86.5, rows="cls"),
    Family("FlexiViT", "vision_transformer", "flexivit_small", 22.1, rows="cls"),
    Family("CLIP", "vision_transformer", "vit_base_patch32_clip_224", 88.2, rows="cls"),
    Family("SigLIP, SigLIP 2", "vision_transformer", "vit_base_patch16_siglip_224", 92.9, rows="pool"),
    Family("SigLIP, average-pooled", "vision_transformer", "vit_base_patch16_siglip_gap_224", 85.8, rows="patches"),
    Family("SO150M", "vision_transformer", "vit_so150m_patch16_reg4_map_256", 141.5, rows="pool"),
    Family("pooling attention over registers too", "vision_transformer", "test_vit3", 0.9, rows="pool"),
    Family("DINOv2", "vision_transformer", "vit_small_patch14_dinov2", 22.1, rows="cls"),
    Family("DINOv2, registers", "vision_transformer", "vit_small_patch14_reg4_dinov2", 22.1, rows="cls"),
    Family("TIPSv2", "vision_transformer", "vit_base_patch14_reg1_tipsv2", 86.3, rows="cls"),
    Family("AIMv2", "vision_transformer", "aimv2_large_patch14_224", 309.2, rows="patches"),
    Family("InternViT", "vision_transformer", "vit_intern300m_patch14_448", 304.0, rows="cls"),
    Family("BEiT-3", "vision_transformer", "beit3_base_patch16_224", 86.7, rows="patches"),
    Family("C-RADIO", "vision_transformer", "vit_base_patch16_radio_v3", 86.5, rows="cls"),
    Family("DeiT", "deit", "deit_tiny_patch16_224", 5.7, rows="cls"),
    Family("DeiT, distilled", "deit", "deit_tiny_distilled_patch16_224", 5.9, rows="cls"),
    Family("DeiT-3", "deit", "deit3_small_patch16_224", 22.1, rows="cls"),
    Family("hybrid, one convolution", "vision_transformer_hybrid", "vit_tiny_r_s16_p8_224", 6.3, rows="cls",
           grid="photo ÷ 32", encoder=False),
    Family("hybrid, ResNet-26", "vision_transformer_hybrid", "vit_small_r26_s32_224", 36.4, rows="cls",
           grid="photo ÷ 32"),
    Family("hybrid, ResNet-50", "vision_transformer_hybrid", "vit_base_r50_s16_224", 97.9, rows="cls",
           grid="photo ÷ 16"),
    Family("BEiT", "beit", "beit_base_patch16_224", 86.5, rows="patches"),
    Family("BEiT v2, from its token", "beit", "beitv2_base_patch16_224", 86.5, rows="cls",
           options={"global_pool": "token"}),
    Family("EVA", "eva", "eva_giant_patch14_224", 1012.6, rows="patches"),
    Family("EVA-02", "eva", "eva02_tiny_patch14_224", 5.5, rows="patches"),
    Family("EVA-02 CLIP", "eva", "eva02_base_patch16_clip_224", 86.3, rows="cls"),
    Family("ViT with RoPE", "eva", "vit_medium_patch16_rope_reg1_gap_256", 38.7, rows="patches"),
    Family("ViT with mixed RoPE", "eva", "vit_small_patch16_rope_mixed_224", 22.0, rows="cls"),
    Family("Perception Encoder", "eva", "vit_pe_core_base_patch16_224", 93.7, rows="pool"),
    Family("DINOv3", "eva", "vit_small_patch16_dinov3", 21.6, rows="patches"),
    Family("DINOv3, from its token", "eva", "vit_small_patch16_dinov3", 21.6, rows="cls",
           options={"global_pool": "token"}),
    Family("Sapiens 2, grouped queries", "eva", "vit_base_patch16_sapiens2", 114.0, rows="cls"),
    Family("LingBot", "eva", "vit_small_patch16_lingbot", 21.6, rows="cls"),
    Family("ViT, relative positions", "vision_transformer_relpos", "vit_relpos_medium_patch16_224", 38.7,
           rows="patches"),
    Family("ViT, relative positions, token", "vision_transformer_relpos", "vit_relpos_base_patch16_cls_224", 86.4,
           rows="cls"),
    Family("NaFlexViT", "naflexvit", "naflexvit_base_patch16_gap", 86.6, rows="patches", encoder=False),
    Family("NaFlexViT, pooling attention", "naflexvit", "naflexvit_base_patch16_map", 93.7, rows="pool",
           encoder=False),
    Family("Gemma 4", "gemma4_vit", "gemma4_vit_167m", 167.4, rows="patches", encoder=False),
    Family("Qwen 3 VL", "qwen3_vit", "qwen3_vit_88m", 87.4, rows="patches", encoder=False),
    Family("DeepSeek-V4 vision", "deepseek_vit", "deepseek_vit_412m", 411.8, rows="patches", encoder=False),
    Family("ViTamin", "vitamin", "vitamin_small_224", 22.2, rows="patches", grid="photo ÷ 16", encoder=False),
    Family("CaiT", "cait", "cait_xxs24_224", 12.0, rows="cls", blocks="the class-attention blocks", encoder=False),
    Family("ConViT", "convit", "convit_tiny", 5.7, rows="cls", blocks="the blocks after the token has joined",
           encoder=False),
    Family("TNT", "tnt", "tnt_s_patch16_224", 23.8, rows="cls", blocks="the outer attention of each", encoder=False),
    Family("PiT", "pit", "pit_ti_224", 4.8, rows="cls", blocks="those of the last stage",
           grid="the last one, 7×7 of 224", encoder=False),
    Family("PiT, distilled", "pit", "pit_ti_distilled_224", 5.1, rows="cls", blocks="those of the last stage",
           grid="the last one, 7×7 of 224", encoder=False),
    Family("VOLO", "volo", "volo_d1_224", 26.6, rows="cls", blocks="the class-attention blocks",
           grid="photo ÷ 16", encoder=False),
]  # fmt: skip
"""Families of timm with a GETAM map: each is held against its materialised matrices."""

TRANSFORMERS = [
    Family("ViT", "transformers", "ViTForImageClassification", 86.6, rows="cls", encoder=False),
    Family("ViT MSN", "transformers", "ViTMSNForImageClassification", 86.6, rows="cls", encoder=False),
    Family("DeiT", "transformers", "DeiTForImageClassification", 86.6, rows="cls", encoder=False),
    Family("DeiT, distilled", "transformers", "DeiTForImageClassificationWithTeacher", 87.3, rows="cls",
           encoder=False),
    Family("DINOv2", "transformers", "Dinov2ForImageClassification", 87.3, rows="cls+patches", encoder=False),
    Family("DINOv2, registers", "transformers", "Dinov2WithRegistersForImageClassification", 87.4,
           rows="cls+patches", encoder=False),
    Family("SigLIP", "transformers", "SiglipForImageClassification", 93.7, rows="patches", encoder=False),
    Family("CLIP", "transformers", "CLIPForImageClassification", 88.2, rows="patches", encoder=False),
    Family("MetaCLIP 2", "transformers", "MetaClip2ForImageClassification", 88.2, rows="patches", encoder=False),
    Family("I-JEPA", "transformers", "IJepaForImageClassification", 86.6, rows="patches", encoder=False),
    Family("BEiT", "transformers", "BeitForImageClassification", 86.4, rows="patches", encoder=False),
    Family("BEiT, from its token", "transformers", "BeitForImageClassification", 86.4, rows="cls", encoder=False),
]  # fmt: skip
"""Of Hugging Face `transformers`, by class, counted in its default configuration: held against its own matrices."""

ELSEWHERE = [
    Family("torchvision ViT", "torchvision", "vit_b_16", 86.6, rows="cls", encoder=False),
    Family("OpenCLIP visual towers", "open_clip", "ViT-B-32", 87.8, rows="cls, patches", encoder=False),
]  # fmt: skip
"""Of other libraries: held against timm models of the same weights."""

NO_ROW = [
    Family("ViT, differential", "vision_transformer", "vit_dlittle_patch16_reg1_gap_256", 22.5,
           method="gradcam", reason="each block subtracts two attention matrices", encoder=False),
    Family("ViT, refined patches (PRR)", "vision_transformer", "vit_tiny_patch16_224", 5.7, method="gradcam",
           reason="refines the patches by another attention before pooling", options={"global_pool": "prr"}),
    Family("SAM", "vision_transformer_sam", "samvit_base_patch16", 89.7, method="gradcam",
           reason="two thirds of the blocks attend inside windows; heads are folded into the batch", encoder=False),
    Family("CrossViT", "crossvit", "crossvit_9_240", 8.6, method="gradcam",
           reason="two branches with a grid each; the score averages two class tokens", encoder=False),
    Family("XCiT", "xcit", "xcit_nano_12_p16_224", 3.1, method="gradcam",
           reason="attends over channels: only its two class-attention blocks have a row", encoder=False),
    Family("CoaT", "coat", "coat_lite_tiny", 5.7, method="gradcam",
           reason="factorised attention: no matrix between patches exists", encoder=False),
    Family("MViT v2", "mvitv2", "mvitv2_tiny", 24.2, method="gradcam",
           reason="queries and keys are pooled to different grids in each stage", encoder=False),
    Family("MViT v2, class token", "mvitv2", "mvitv2_base_cls", 65.4, method="gradcam",
           reason="queries and keys are pooled to different grids in each stage", encoder=False),
    Family("Swin", "swin_transformer", "swin_tiny_patch4_window7_224", 28.3, method="last-stage",
           reason=WINDOWS, encoder=False),
    Family("Swin v2", "swin_transformer_v2", "swinv2_tiny_window8_256", 28.3, method="last-stage",
           reason=WINDOWS, encoder=False),
    Family("Swin v2 CR", "swin_transformer_v2_cr", "swinv2_cr_tiny_224", 28.3, method="last-stage",
           reason=WINDOWS, encoder=False),
    Family("MaxViT, CoAtNet", "maxxvit", "maxvit_rmlp_pico_rw_256", 7.5, method="last-stage", reason=WINDOWS,
           encoder=False),
    Family("Twins", "twins", "twins_svt_small", 24.1, method="last-stage", reason=WINDOWS, encoder=False),
    Family("Hiera", "hiera", "hiera_tiny_224", 27.9, method="last-stage", reason=WINDOWS, encoder=False),
    Family("Hiera of SAM 2", "hieradet_sam2", "sam2_hiera_tiny", 26.9, method="gradcam", reason=WINDOWS,
           encoder=False),
    Family("DaViT", "davit", "davit_tiny", 28.4, method="last-stage", reason=WINDOWS, encoder=False),
    Family("GC ViT", "gcvit", "gcvit_xxtiny", 12.0, method="last-stage", reason=WINDOWS, encoder=False),
    Family("TinyViT", "tiny_vit", "tiny_vit_5m_224", 12.1, method="last-stage", reason=WINDOWS, encoder=False),
    Family("NesT", "nest", "nest_tiny", 17.1, method="gradcam", reason=WINDOWS, encoder=False),
    Family("EfficientViT (MSRA)", "efficientvit_msra", "efficientvit_m0", 2.3, method="gradcam",
           reason=WINDOWS, encoder=False),
    Family("PVT v2", "pvt_v2", "pvt_v2_b0", 3.7, method="last-stage",
           reason="keys are pooled to a coarser grid in all stages but the last", encoder=False),
    Family("NextViT", "nextvit", "nextvit_small", 31.8, method="last-stage",
           reason="keys are pooled to a coarser grid", encoder=False),
    Family("EfficientViT (MIT)", "efficientvit_mit", "efficientvit_b0", 3.4, method="gradcam",
           reason="linear attention: no matrix between patches exists", encoder=False),
    Family("MobileViT", "mobilevit", "mobilevit_xxs", 1.3, method="gradcam",
           reason="attends between patches at equal offsets only, on three grids"),
    Family("EdgeNeXt", "edgenext", "edgenext_xx_small", 1.3, method="gradcam",
           reason="attends over channels, not over patches", encoder=False),
    Family("SwiftFormer", "swiftformer", "swiftformer_xs", 3.5, method="gradcam",
           reason="additive attention: no matrix between patches exists", encoder=False),
    Family("EfficientViM", "efficientvim", "efficientvim_m1", 6.7, method="gradcam",
           reason="state-space mixing: no matrix between patches exists", encoder=False),
    Family("LeViT", "levit", "levit_128s", 7.8, method="gradcam",
           reason="three shrinking grids, average-pooled", encoder=False),
    Family("Visformer", "visformer", "visformer_tiny", 10.3, method="last-stage", reason=CONVOLUTIONAL,
           encoder=False),
    Family("EfficientFormer", "efficientformer", "efficientformer_l1", 12.3, method="gradcam",
           reason=CONVOLUTIONAL, encoder=False),
    Family("EfficientFormer v2", "efficientformer_v2", "efficientformerv2_s0", 3.6, method="gradcam",
           reason=CONVOLUTIONAL, encoder=False),
    Family("CAFormer", "metaformer", "caformer_s18", 26.3, method="last-stage", reason=CONVOLUTIONAL, encoder=False),
    Family("FastViT", "fastvit", "fastvit_sa12", 11.6, method="last-stage", reason=CONVOLUTIONAL, encoder=False),
    Family("iFormer", "iformer", "iformer_t", 2.9, method="last-stage", reason=CONVOLUTIONAL, encoder=False),
    Family("LowFormer", "lowformer", "lowformer_b0", 14.1, method="last-stage", reason=CONVOLUTIONAL, encoder=False),
    Family("CPUBone", "cpubone", "cpubone_b0_bfrobust", 10.4, method="last-stage", reason=CONVOLUTIONAL,
           encoder=False),
    Family("CSATv2", "csatv2", "csatv2", 11.1, method="last-stage", reason=CONVOLUTIONAL, encoder=False),
    Family("SHViT", "shvit", "shvit_s1", 6.3, method="gradcam", reason=CONVOLUTIONAL, encoder=False),
    Family("BoTNet, HaloNet, LambdaNet", "byoanet", "botnet26t_256", 12.5, method="gradcam", reason=CONVOLUTIONAL),
    Family("CLIP ResNet", "byobnet", "resnet50_clip", 38.3, method="gradcam",
           reason="a convolutional network; only its pooling attends"),
    Family("MobileNet v4 hybrid", "mobilenetv3", "mobilenetv4_hybrid_medium", 11.1, method="last-stage",
           reason=CONVOLUTIONAL),
    Family("MobileNet v5", "mobilenetv5", "mobilenetv5_base", 82.6, method="last-stage", reason=CONVOLUTIONAL,
           encoder=False),
]  # fmt: skip
"""Families of timm that attend but have no row to read, and why; the method is what reads them instead."""

WITHOUT_ATTENTION = [
    Family("convmixer", "convmixer", "convmixer_768_32", 21.1, method="gradcam", encoder=False),
    Family("convnext", "convnext", "convnext_tiny", 28.6, method="gradcam"),
    Family("cspnet", "cspnet", "cspresnet50", 21.6, method="gradcam"),
    Family("cspnext", "cspnext", "cspnext_l", 27.2, method="gradcam"),
    Family("densenet", "densenet", "densenet121", 8.0, method="gradcam", encoder=False),
    Family("dla", "dla", "dla34", 15.7, method="gradcam", encoder=False),
    Family("dpn", "dpn", "dpn68", 12.6, method="gradcam", encoder=False),
    Family("efficientnet", "efficientnet", "efficientnet_b0", 5.3, method="gradcam"),
    Family("fasternet", "fasternet", "fasternet_t0", 3.9, method="gradcam", encoder=False),
    Family("focalnet", "focalnet", "focalnet_tiny_srf", 28.4, method="gradcam", encoder=False),
    Family("ghostnet", "ghostnet", "ghostnet_100", 5.2, method="gradcam", encoder=False),
    Family("hardcorenas", "hardcorenas", "hardcorenas_a", 5.3, method="gradcam"),
    Family("hgnet", "hgnet", "hgnet_tiny", 14.7, method="gradcam", encoder=False),
    Family("hrnet", "hrnet", "hrnet_w18", 21.3, method="gradcam", encoder=False),
    Family("inception_next", "inception_next", "inception_next_atto", 4.2, method="gradcam"),
    Family("inception_resnet_v2", "inception_resnet_v2", "inception_resnet_v2", 55.8, method="gradcam",
           encoder=False),
    Family("inception_v3", "inception_v3", "inception_v3", 23.8, method="gradcam", encoder=False),
    Family("inception_v4", "inception_v4", "inception_v4", 42.7, method="gradcam", encoder=False),
    Family("lcnetv2", "lcnetv2", "lcnetv2_base", 6.7, method="gradcam", encoder=False),
    Family("mambaout", "mambaout", "mambaout_femto", 7.3, method="gradcam", encoder=False),
    Family("mlp_mixer", "mlp_mixer", "gmlp_s16_224", 19.4, method="gradcam", encoder=False),
    Family("nasnet", "nasnet", "nasnetalarge", 88.8, method="gradcam", encoder=False),
    Family("nfnet", "nfnet", "nfnet_l0", 35.1, method="gradcam"),
    Family("pnasnet", "pnasnet", "pnasnet5large", 86.1, method="gradcam", encoder=False),
    Family("rdnet", "rdnet", "rdnet_tiny", 23.9, method="gradcam", encoder=False),
    Family("regnet", "regnet", "regnety_002", 3.2, method="gradcam"),
    Family("repghost", "repghost", "repghostnet_050", 2.3, method="gradcam", encoder=False),
    Family("repvit", "repvit", "repvit_m1", 5.5, method="gradcam", encoder=False),
    Family("res2net", "res2net", "res2net50d", 25.7, method="gradcam"),
    Family("resnest", "resnest", "resnest14d", 10.6, method="gradcam"),
    Family("resnet", "resnet", "resnet50", 25.6, method="gradcam"),
    Family("resnetv2", "resnetv2", "resnetv2_50", 25.5, method="gradcam"),
    Family("rexnet", "rexnet", "rexnet_100", 4.8, method="gradcam"),
    Family("selecsls", "selecsls", "selecsls42b", 32.5, method="gradcam", encoder=False),
    Family("senet", "senet", "legacy_seresnet18", 11.8, method="gradcam", encoder=False),
    Family("sequencer", "sequencer", "sequencer2d_s", 27.7, method="gradcam", encoder=False),
    Family("sknet", "sknet", "skresnet18", 12.0, method="gradcam"),
    Family("starnet", "starnet", "starnet_s1", 2.9, method="gradcam", encoder=False),
    Family("tresnet", "tresnet", "tresnet_m", 31.4, method="gradcam", encoder=False),
    Family("vgg", "vgg", "vgg11", 132.9, method="gradcam", encoder=False),
    Family("vovnet", "vovnet", "ese_vovnet19b_dw", 6.5, method="gradcam", encoder=False),
    Family("xception", "xception", "legacy_xception", 22.9, method="gradcam", encoder=False),
    Family("xception_aligned", "xception_aligned", "xception41", 27.0, method="gradcam"),
]  # fmt: skip
"""Modules of timm without attention between patches: convolutions, mixers, and gates over channels."""
