"""Weights come from a safetensors file that fits, or one sentence says why they do not."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

import tiny
from getam.errors import WeightsError
from getam.nets.build import build_segmenter
from getam.nets.weights import load_backbone, read_weights


def test_round_trip_leaves_out_the_head_and_keeps_half_precision_readable(tmp_path: Path) -> None:
    source, target = tiny.vit(), tiny.vit(num_classes=0)
    save_file({name: value.half() for name, value in source.state_dict().items()}, tmp_path / "w.safetensors")
    with torch.no_grad():
        for parameter in target.parameters():
            parameter.zero_()
    load_backbone(target, tmp_path / "w.safetensors")
    for name, value in target.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, source.state_dict()[name].half().float())


def test_counters_may_be_missing(tmp_path: Path) -> None:
    source, target = tiny.hybrid_vit(), tiny.hybrid_vit()
    state = {name: value for name, value in source.state_dict().items() if "num_batches" not in name}
    save_file(state, tmp_path / "w.safetensors")
    load_backbone(target, tmp_path / "w.safetensors")
    for name, value in state.items():
        assert torch.equal(target.state_dict()[name], value)


@pytest.mark.parametrize("options", [{}, {"reg_tokens": 2, "no_embed_class": True}])
def test_position_embeddings_are_resampled(tmp_path: Path, options: dict[str, object]) -> None:
    source, target = tiny.vit(**options), tiny.vit(img_size=48, **options)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    load_backbone(target, tmp_path / "w.safetensors")
    prefix = 0 if options else 1
    wanted = resample_abs_pos_embed(source.pos_embed.detach(), [6, 6], num_prefix_tokens=prefix)
    torch.testing.assert_close(target.pos_embed.detach(), wanted)


def test_a_real_name_with_a_local_file(tmp_path: Path) -> None:
    import timm

    torch.manual_seed(3)
    source = timm.create_model("resnet18", features_only=True, output_stride=16, out_indices=(1, 2, 4))
    save_file(source.state_dict(), tmp_path / "stem.safetensors")
    net = build_segmenter("resnet18", ("a",), (8, 8, 8, 8), 8, weights=str(tmp_path / "stem.safetensors"))
    assert torch.equal(net.encoder.backbone.state_dict()["conv1.weight"], source.state_dict()["conv1.weight"])


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    state = tiny.vit().state_dict()
    save_file({k: v for k, v in state.items() if k != "blocks.2.attn.qkv.weight"}, path)
    with pytest.raises(WeightsError, match=r"lacks 1 of the \d+ tensors.*blocks\.2\.attn\.qkv\.weight"):
        load_backbone(tiny.vit(num_classes=0), path)
    save_file(state, path)
    with pytest.raises(WeightsError, match=r"cls_token is \(1, 1, 24\) but the model's is \(1, 1, 48\)"):
        load_backbone(tiny.vit(num_classes=0, embed_dim=48, img_size=32), path)


def test_what_is_no_safetensors_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        read_weights(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match="does not exist"):
        read_weights(tmp_path)
    torch.save({"a": torch.zeros(2)}, tmp_path / "pickle.safetensors")
    (tmp_path / "empty.safetensors").touch()
    for name in ("pickle.safetensors", "empty.safetensors"):
        with pytest.raises(WeightsError, match="not a readable safetensors file"):
            read_weights(tmp_path / name)
