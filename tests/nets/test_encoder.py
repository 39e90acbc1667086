"""Any timm vision transformer, or a CNN as a stem, gives four taps; what cannot be read is refused by name."""

import pytest
import torch

import tiny
from getam.errors import InputError
from getam.nets.encoder import ConvStem, HybridEncoder, VitEncoder, build_encoder

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


def test_a_module_that_is_no_transformer_is_refused() -> None:
    with pytest.raises(InputError, match="Linear is not a plain timm vision transformer"):
        VitEncoder(torch.nn.Linear(2, 2))
