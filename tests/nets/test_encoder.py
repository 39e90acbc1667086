"""Any timm vision transformer, or a CNN as a stem, gives four taps; what cannot be read is refused by name."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers import HybridEmbed
from timm.models.beit import Beit
from timm.models.resnetv2 import ResNetV2
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import tiny
from getam.attention.geometry import Geometry
from getam.errors import InputError, WeightsError
from getam.nets.build import build_segmenter
from getam.nets.encoder import (
    ConvStem,
    HybridEncoder,
    VitEncoder,
    build_encoder,
    is_transformer,
    photo_statistics,
)

REAL = {
    # name: side, taps' (channels, side), prefix, patch
    "vit_tiny_patch16_224": (64, [(192, 4)] * 4, 1, 16),
    "deit_tiny_distilled_patch16_224": (64, [(192, 4)] * 4, 2, 16),
    "vit_small_patch14_reg4_dinov2": (56, [(384, 4)] * 4, 5, 14),
    "eva02_tiny_patch14_224": (56, [(192, 4)] * 4, 1, 14),
    "vit_relpos_small_patch16_224": (224, [(384, 14)] * 4, 0, 16),
    "beit_base_patch16_224": (224, [(768, 14)] * 4, 1, 16),
    "vit_base_patch16_siglip_224": (64, [(768, 4)] * 4, 0, 16),
    "vit_small_r26_s32_224": (64, [(256, 16), (512, 8), (384, 2), (384, 2)], 1, 32),
    "vit_base_r50_s16_384": (64, [(256, 16), (512, 8), (768, 4), (768, 4)], 1, 16),
    "tf_efficientnet_lite0": (64, [(24, 16), (40, 8), (192, 4), (192, 4)], 1, 16),
    "resnet18": (64, [(64, 16), (128, 8), (192, 4), (192, 4)], 1, 16),
}


@pytest.mark.parametrize("name", REAL)
def test_real_names_give_four_taps(name: str) -> None:
    side, taps, prefix, patch = REAL[name]
    with torch.device("meta"):  # structure and shapes; the numbers are the tiny models' business
        encoder = build_encoder(name)
        with torch.no_grad():
            features = encoder.eval()(torch.empty(2, 3, side, side))
    assert [(f.patches.shape[1], f.patches.shape[2]) for f in features] == taps
    assert tuple(channels for channels, _ in taps) == encoder.dims
    assert (encoder.prefix, encoder.patch) == (prefix, patch)
    tokens = list(features[encoder.conv_taps :])
    assert all((f.prefix is None) == (prefix == 0) for f in tokens)
    assert all(f.prefix.shape[1] == prefix for f in tokens if f.prefix is not None)
    assert all(f.prefix is None for f in features[: encoder.conv_taps])
    assert all(0 <= m <= 255 for m in encoder.mean)
    assert all(1 < s <= 255 for s in encoder.std)
    deepest = features[-1].patches.shape[-2:]
    assert encoder.geometry(side, side).grid == tuple(deepest)


def test_a_published_size_that_is_no_multiple_of_the_patch_does_not_matter_where_any_size_is_taken() -> None:
    with torch.device("meta"):
        encoder = build_encoder("vit_so400m_patch14_siglip_384")  # 384 = 27 × 14 + 6
    assert (encoder.prefix, encoder.patch, encoder.geometry(28, 42).grid) == (0, 14, (2, 3))


def test_a_small_real_model_computes() -> None:
    encoder = build_encoder("vit_tiny_patch16_224").eval()
    with torch.no_grad():
        features = encoder(torch.randn(1, 3, 32, 48))
    assert [tuple(f.patches.shape) for f in features] == [(1, 192, 2, 3)] * 4


def test_taps_are_the_outputs_of_the_blocks() -> None:
    model = tiny.vit(num_classes=0, depth=8)
    kept = []
    for i in (1, 3, 5, 7):
        model.blocks[i].register_forward_hook(lambda _m, _i, out: kept.append(out))
    features = VitEncoder(model)(tiny.photos(2))
    for feature, tokens in zip(features, kept):
        assert torch.equal(feature.patches.flatten(2).transpose(1, 2), tokens[:, 1:])
        assert feature.prefix is not None
        assert torch.equal(feature.prefix, tokens[:, :1])


def test_a_model_of_one_size_gets_every_photo_at_that_size() -> None:
    encoder = VitEncoder(tiny.vit(num_classes=0))
    assert encoder(tiny.photos(1, 48, 64))[0].patches.shape == (1, 24, 4, 4)
    assert encoder.geometry(48, 64).grid == (4, 4)


def test_a_model_of_one_oblong_size_keeps_its_sides_apart() -> None:
    encoder = VitEncoder(tiny.vit(num_classes=0, img_size=(32, 48)))
    assert encoder.fixed == (32, 48)
    assert encoder.geometry(64, 64).grid == (4, 6)
    assert encoder(tiny.photos(1, 64, 64))[0].patches.shape == (1, 24, 4, 6)


def test_a_hybrid_taps_its_stem_and_two_blocks() -> None:
    stem = ConvStem((8, 12, 16))
    encoder = HybridEncoder(stem, (8, 12, 16), 8, width=24, depth=4, heads=3, grid=4).eval()
    images = tiny.photos(1, 24, 40)
    features = encoder(images)
    assert torch.equal(features[0].patches, stem(images)[0])
    assert torch.equal(features[1].patches, stem(images)[1])
    assert [tuple(f.patches.shape[-2:]) for f in features] == [(12, 20), (6, 10), (3, 5), (3, 5)]
    assert encoder.backbone is stem


@pytest.mark.parametrize(
    "name", ["nothing_like_it", "", "hf_hub:timm/vit", "vit_tiny_patch16_224.no_such_tag"]
)
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="timm"):
        build_encoder(name)


@pytest.mark.parametrize(
    "name",
    ["swin_tiny_patch4_window7_224", "hiera_tiny_224", "cait_xxs24_224", "xcit_nano_12_p16_224", "mixer_s32_224",
     "samvit_base_patch16", "convit_tiny", "vit_tiny_r_s16_p8_224"],
)  # fmt: skip
def test_unsupported_architectures_are_refused_before_training(name: str) -> None:
    with torch.device("meta"), pytest.raises(InputError):
        build_encoder(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vit_small_patch14_dinov2", True), ("vit_small_patch14_dinov2.lvd142m", True),
        ("deit3_small_patch16_224", True), ("vit_base_r50_s16_384", True),
        ("tf_efficientnet_lite0", False), ("resnet50", False),
        ("small-hybrid", False), ("no_such_model", False),
    ],
)  # fmt: skip
def test_transformers_are_known_by_name(name: str, expected: bool) -> None:
    assert is_transformer(name) is expected


def test_a_module_that_is_no_transformer_is_refused() -> None:
    with pytest.raises(InputError, match="Linear is not a plain timm vision transformer"):
        VitEncoder(torch.nn.Linear(2, 2))


def kept_outputs(modules: list[nn.Module]) -> list[Tensor]:
    """Fills as the modules run."""
    kept: list[Tensor] = []
    for module in modules:
        module.register_forward_hook(lambda _m, _i, out: kept.append(out))
    return kept


def resnet_vit(depth: int = 8) -> Any:
    """As timm's `vit_base_r50_s16`: the stages of a ResNetV2, then blocks over 1×1 patches."""
    stem = ResNetV2((1, 1, 1), (128, 256, 384), num_classes=0, global_pool="", stem_chs=32, preact=False)
    return tiny.vit(
        patch_size=1,
        depth=depth,
        num_classes=0,
        embed_layer=partial(HybridEmbed, backbone=stem),
        dynamic_img_size=True,
    )


@pytest.mark.parametrize(("depth", "blocks"), [(12, [2, 5, 8, 11]), (24, [5, 11, 17, 23]), (4, [0, 1, 2, 3])])
def test_plain_transformers_are_tapped_at_quarters(depth: int, blocks: list[int]) -> None:
    assert VitEncoder(tiny.vit(num_classes=0, depth=depth)).blocks == blocks  # 12 and 24: the paper's


@pytest.mark.parametrize(("depth", "blocks"), [(12, [8, 11]), (8, [5, 7])])
def test_hybrids_are_tapped_at_three_quarters_and_at_the_end(depth: int, blocks: list[int]) -> None:
    assert VitEncoder(resnet_vit(depth)).blocks == blocks  # 12: the paper's


def test_chosen_blocks_win() -> None:
    model = tiny.vit(num_classes=0)
    outputs = kept_outputs([model.blocks[i] for i in (0, 1, 2, 3)])
    features = VitEncoder(model, taps=[0, 0, 1, 3])(tiny.photos(1))
    assert VitEncoder(model, taps=[0, 0, 1, 3]).blocks == [0, 0, 1, 3]
    assert torch.equal(features[-1].patches.flatten(2).transpose(1, 2), outputs[3][:, 1:])
    assert VitEncoder(resnet_vit(), taps=[2, 3]).blocks == [2, 3]


def test_a_resnet_hybrid_gives_two_stages_then_two_blocks() -> None:
    model = resnet_vit().eval()
    stem = model.patch_embed.backbone
    outputs = kept_outputs([stem.stages[0], stem.stages[1], model.blocks[5], model.blocks[7]])
    encoder = VitEncoder(model)
    assert encoder.dims == (128, 256, 24, 24)
    assert (encoder.patch, encoder.prefix, encoder.conv_taps, encoder.start) == (16, 1, 2, None)
    with torch.no_grad():
        features = encoder(tiny.photos(2, 32, 48))
    assert torch.equal(features[0].patches, outputs[0])
    assert torch.equal(features[1].patches, outputs[1])
    for feature, tokens in zip(features[2:], outputs[2:], strict=True):
        assert feature.prefix is not None
        assert torch.equal(feature.prefix, tokens[:, :1])
        assert torch.equal(feature.patches.flatten(2).transpose(1, 2), tokens[:, 1:])
    assert features[3].patches.shape[-2:] == (2, 3)
    assert encoder.geometry(32, 48).grid == (2, 3)


def test_hooks_are_gone_afterwards_also_after_an_error() -> None:
    encoder = VitEncoder(resnet_vit().eval())
    before = [len(stage._forward_hooks) for stage in encoder.stages]
    encoder(tiny.photos(1, 32, 48))
    with pytest.raises(RuntimeError):
        encoder(torch.zeros(1, 4, 32, 32))
    assert [len(stage._forward_hooks) for stage in encoder.stages] == before == [0, 0]


def test_a_light_hybrid_taps_the_middle_and_the_last_block() -> None:
    stem = ConvStem((8, 12, 16))
    encoder = HybridEncoder(stem, (8, 12, 16), 8, width=24, depth=6, heads=3, grid=4).eval()
    outputs = kept_outputs([encoder.vit.blocks[i] for i in range(6)])
    features = encoder(tiny.photos(1, 24, 40))
    for feature, tokens in zip(features[2:], (outputs[2], outputs[5]), strict=True):
        assert feature.prefix is not None
        assert torch.equal(feature.prefix, tokens[:, :1])
        assert torch.equal(feature.patches.flatten(2).transpose(1, 2), tokens[:, 1:])
    assert encoder.vit.patch_embed.proj.weight.shape == (24, 16, 1, 1)  # the stem's last map
    assert len(encoder.vit.blocks[0].attn.qkv.weight) == 3 * 24
    assert encoder.vit.blocks[0].attn.num_heads == 3


def test_a_light_hybrid_by_default() -> None:
    encoder = HybridEncoder(ConvStem((8, 12, 16)), (8, 12, 16), 8)
    assert encoder.dims == (8, 12, 192, 192)
    assert len(encoder.vit.blocks) == 6
    assert encoder.vit.blocks[0].attn.num_heads == 6
    assert encoder.vit.pos_embed.shape == (1, 1 + 14 * 14, 192)
    assert (encoder.mean, encoder.std) == ((127.0,) * 3, (128.0,) * 3)
    assert (encoder.conv_taps, encoder.prefix, encoder.patch) == (2, 1, 8)


def test_the_small_hybrid_s_sizes() -> None:
    encoder: Any = build_segmenter("small-hybrid", ("a",), (8, 8, 8, 8), 8).encoder
    assert [layer[0].weight.shape[:2] for layer in encoder.stem.layers] == [(32, 3), (64, 32), (96, 64)]
    assert encoder.patch == 8
    assert [block.attn.num_heads for block in encoder.vit.blocks] == [4] * 4
    assert encoder.vit.pos_embed.shape == (1, 1 + 8 * 8, 96)


def test_maps_count_every_block_of_a_light_hybrid_and_half_of_a_transformer_s() -> None:
    light = HybridEncoder(ConvStem((8, 12, 16)), (8, 12, 16), 8, width=24, depth=4, heads=3, grid=4)
    assert light.geometry(24, 40) == Geometry(1, (3, 5), "cls", 0)
    assert light.geometry(30, 47) == Geometry(1, (3, 5), "cls", 0)  # only whole patches count
    plain = VitEncoder(tiny.vit(num_classes=0, dynamic_img_size=True))
    assert plain.geometry(24, 40) == Geometry(1, (3, 5), "cls", None)
    averaged = VitEncoder(
        tiny.vit(num_classes=0, global_pool="avg", class_token=False, dynamic_img_size=True)
    )
    assert averaged.geometry(24, 40) == Geometry(0, (3, 5), "patches", None)


def test_a_conv_stem_is_strided_convolutions_with_batch_norm() -> None:
    stem = ConvStem((4, 6)).eval()
    images = tiny.photos(1, 16, 24)
    for maps, layer in zip(stem(images), stem.layers, strict=True):
        convolved = F.conv2d(images, layer[0].weight, stride=2, padding=1)
        norm = layer[1]
        by_hand = (convolved / (1 + norm.eps) ** 0.5).relu()  # fresh statistics: mean 0, variance 1
        torch.testing.assert_close(maps, by_hand)
        images = maps
    assert images.shape == (1, 6, 4, 6)


def test_photos_of_another_size_are_shrunk_smoothly_for_a_model_of_one_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = VitEncoder(tiny.vit(Beit, num_classes=0, use_abs_pos_emb=False, use_rel_pos_bias=True)).eval()
    assert encoder.fixed == (32, 32)
    photos = tiny.photos(1, 48, 96)
    shrunk = F.interpolate(photos, (32, 32), mode="bilinear", antialias=True)
    for found, wanted in zip(encoder(photos), encoder(shrunk), strict=True):
        torch.testing.assert_close(found.patches, wanted.patches)
    monkeypatch.setattr("torch.nn.functional.interpolate", None)
    encoder(shrunk)  # at its own size nothing is resized


def test_photo_statistics_are_those_of_the_config_or_imagenet_s() -> None:
    mean, std = photo_statistics({"mean": (0.5, 0.25, 0.0), "std": (1.0, 0.5, 0.2)})
    assert mean == pytest.approx((127.5, 63.75, 0.0))
    assert std == pytest.approx((255.0, 127.5, 51.0))
    mean, std = photo_statistics({})
    assert mean == pytest.approx((123.675, 116.28, 103.53))
    assert std == pytest.approx((58.395, 57.12, 57.375))


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [("resnet18", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
     ("tf_efficientnet_lite0", (127.5,) * 3, (127.5,) * 3),
     ("vit_tiny_patch16_224", (127.5,) * 3, (127.5,) * 3),
     ("deit_tiny_patch16_224", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))],
)  # fmt: skip
def test_normalisation_is_the_backbone_s_own(
    name: str, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    with torch.device("meta"):
        encoder = build_encoder(name)
    assert encoder.mean == pytest.approx(mean)
    assert encoder.std == pytest.approx(std)


def test_a_model_without_a_config_is_normalised_like_imagenet() -> None:
    model = tiny.vit(num_classes=0)
    model.pretrained_cfg = None
    assert VitEncoder(model).mean == pytest.approx((123.675, 116.28, 103.53))


def test_the_transformer_stands_on_the_deepest_map_of_stride_16() -> None:
    with torch.device("meta"):
        encoder: Any = build_encoder("resnet18")  # dilated, its last two stages both have stride 16
    assert encoder.vit.patch_embed.proj.weight.shape == (192, 512, 1, 1)
    assert encoder.stem.feature_info.reduction() == [4, 8, 16]


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet18"])
@pytest.mark.parametrize("weights", [None, "", "w.safetensors"])
def test_pretrained_weights_are_asked_for_only_without_a_file(
    name: str, weights: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    create, asked = timm.create_model, []

    def kept(backbone: str, pretrained: bool = False, **options: Any) -> Any:
        if pretrained:
            asked.append(backbone)
        return create(backbone, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", kept)
    with torch.device("meta"):
        if weights:
            with pytest.raises(WeightsError, match="does not exist"):
                build_segmenter(name, ("a",), (8, 8, 8, 8), 8, weights=str(tmp_path / weights))
        else:
            net = build_segmenter(name, ("a",), (8, 9, 10, 11), 12, 1, weights=weights)
            assert [conv.weight.shape[:2] for conv in net.decoder.scratch] == [
                (12, c) for c in (8, 9, 10, 11)
            ]
            assert net.decoder.enlarge == 1
            assert net.classes == ("a",)
    assert asked == ([name] if weights is None else [])


def test_a_real_transformer_has_no_class_head_and_takes_any_size() -> None:
    with torch.device("meta"):
        encoder: Any = build_encoder("vit_tiny_patch16_224")
    assert isinstance(encoder.model.head, nn.Identity)
    assert encoder.model.patch_embed.strict_img_size is False
    assert encoder.fixed is None
    assert encoder.backbone is encoder.model


@pytest.mark.parametrize("name", ["vgg11", "densenet121", "convmixer_768_32"])
def test_a_cnn_that_cannot_be_dilated_is_refused(name: str) -> None:
    with torch.device("meta"), pytest.raises(InputError, match=f"{name} is neither .* dilate to stride 16"):
        build_encoder(name)


@pytest.mark.parametrize("strides", [[2, 8, 16], [2, 4, 16], [2, 4, 8]])
def test_a_cnn_without_the_strides_is_refused_with_the_strides_it_has(
    strides: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Features(nn.Module):
        feature_info = SimpleNamespace(reduction=lambda: strides)

    monkeypatch.setattr(timm, "create_model", lambda *_, **__: Features())
    with pytest.raises(
        InputError, match=r"resnet18 has feature maps at strides \[2, .*\]; a hybrid needs 4, 8 and 16"
    ):
        build_encoder("resnet18")


def test_a_hybrid_whose_stem_has_no_stages_is_refused() -> None:
    with pytest.raises(InputError, match="no two stages to tap"):
        VitEncoder(tiny.hybrid_vit())


def test_blocks_without_forward_intermediates_are_refused() -> None:
    class Mine(VisionTransformer):
        forward_intermediates: Any = None

    with pytest.raises(InputError, match="Mine is not a plain timm vision transformer"):
        VitEncoder(tiny.vit(Mine))
