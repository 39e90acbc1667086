"""Weights come from a safetensors file that fits, or one sentence says why they do not."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

import tiny
from getam.errors import WeightsError
from getam.nets.build import build_segmenter
from getam.nets.weights import load_backbone, load_body, mean_weights, read_weights


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


def test_every_number_is_read_as_float32_but_counters_stay_whole(tmp_path: Path) -> None:
    kept = {"a": torch.tensor([1.5]).half(), "b": torch.tensor([2.5]).bfloat16(), "c": torch.tensor([3])}
    save_file({**kept, "d": torch.tensor([4.5]).double()}, tmp_path / "w.safetensors")
    state = read_weights(str(tmp_path / "w.safetensors"))
    assert {name: value.dtype for name, value in state.items()} == {
        "a": torch.float32, "b": torch.float32, "c": torch.int64, "d": torch.float32,
    }  # fmt: skip
    assert [float(state[name]) for name in "abcd"] == [1.5, 2.5, 3, 4.5]


def test_an_oblong_grid_keeps_its_sides_apart(tmp_path: Path) -> None:
    source, target = tiny.vit(), tiny.vit(img_size=(32, 48))
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    load_backbone(target, tmp_path / "w.safetensors")
    wanted = resample_abs_pos_embed(source.pos_embed.detach(), [4, 6], num_prefix_tokens=1)
    torch.testing.assert_close(target.pos_embed.detach(), wanted)
    assert torch.equal(target.pos_embed[:, :1], source.pos_embed[:, :1])  # the class token has no place


@pytest.mark.parametrize("lacking", ["source", "target"])
def test_a_model_without_position_embeddings_needs_none(lacking: str, tmp_path: Path) -> None:
    with_them, without = tiny.vit(), tiny.vit(pos_embed="none")
    source, target = (without, with_them) if lacking == "source" else (with_them, without)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    if lacking == "target":
        load_backbone(target, tmp_path / "w.safetensors")
        assert torch.equal(target.cls_token, source.cls_token)
    else:
        with pytest.raises(
            WeightsError, match=r"lacks 1 of the \d+ tensors of VisionTransformer, e.g. pos_embed"
        ):
            load_backbone(target, tmp_path / "w.safetensors")


def test_a_position_embedding_that_fits_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tiny.vit(), tiny.vit()
    with torch.no_grad():
        target.pos_embed.zero_()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    monkeypatch.setattr("getam.nets.weights.resample_abs_pos_embed", None)
    load_backbone(target, tmp_path / "w.safetensors")
    assert torch.equal(target.pos_embed, source.pos_embed)


def test_what_is_missing_is_counted_before_what_has_another_shape(tmp_path: Path) -> None:
    state = {name: value for name, value in tiny.vit(embed_dim=48).state_dict().items() if "norm" not in name}
    save_file(state, tmp_path / "w.safetensors")
    missing = sum("norm" in name for name in tiny.vit(num_classes=0).state_dict())
    with pytest.raises(
        WeightsError, match=rf"w.safetensors lacks {missing} of the .*, e.g. blocks.0.norm1.weight"
    ):
        load_backbone(tiny.vit(num_classes=0), tmp_path / "w.safetensors")


def test_a_body_is_all_of_a_network_but_the_modules_that_stay_fresh(tmp_path: Path) -> None:
    source, net = tiny.hybrid_segmenter(("cat", "dog")), tiny.hybrid_segmenter(("a", "b", "c", "d"))
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(1)
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    load_body(net, tmp_path / "model.safetensors", fresh=net.class_layers)
    found, wanted = net.state_dict(), source.state_dict()
    heads = {"classifier.weight", "classifier.bias", "decoder.head.4.weight", "decoder.head.4.bias"}
    for name, value in found.items():
        assert torch.equal(value, before[name] if name in heads else wanted[name]), name
    assert found["decoder.head.4.weight"].shape[0] == 5


def test_heads_stay_fresh_where_the_numbers_of_classes_agree(tmp_path: Path) -> None:
    source, net = tiny.hybrid_segmenter(("cat", "dog")), tiny.hybrid_segmenter(("car", "boat"))
    with torch.no_grad():
        source.classifier.weight.add_(1)
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    load_body(net, tmp_path / "model.safetensors", fresh=net.class_layers)
    assert not torch.equal(net.classifier.weight, source.classifier.weight)


def test_a_body_of_another_shape_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    net = tiny.hybrid_segmenter()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = dict(net.state_dict())
    name = "decoder.scratch.0.weight"
    for other, said in ((None, "not there"), (torch.zeros(3, 2), r"\(3, 2\)")):
        wrong = {**state, name: other} if other is not None else {n: t for n, t in state.items() if n != name}
        save_file({n: t + 1 for n, t in wrong.items()}, tmp_path / "model.safetensors")
        with pytest.raises(
            WeightsError, match=rf"holds another network: {name} is \(8, 8, 3, 3\) here and {said} in"
        ):
            load_body(net, tmp_path / "model.safetensors", fresh=net.class_layers)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_the_mean_is_of_every_number_but_counts() -> None:
    states = [
        {"a": torch.tensor([1.0, 2.0]), "half": torch.tensor([1.0]).half(), "count": torch.tensor(7)},
        {"a": torch.tensor([3.0, 8.0]), "half": torch.tensor([4.0]).half(), "count": torch.tensor(1)},
        {"a": torch.tensor([5.0, 2.0]), "half": torch.tensor([4.0]).half(), "count": torch.tensor(2)},
    ]
    found = mean_weights(states)
    assert found["a"].tolist() == [3.0, 4.0]
    assert (found["half"].tolist(), found["half"].dtype) == ([3.0], torch.float16)
    assert found["count"].item() == 7


@pytest.mark.parametrize(
    "other", [{"a": torch.zeros(2)}, {"a": torch.zeros(3), "b": torch.zeros(1)}, {"b": torch.zeros(3)}]
)
def test_networks_of_other_shapes_have_no_mean(other: dict[str, torch.Tensor]) -> None:
    with pytest.raises(WeightsError, match=r"networks that differ in [ab] have no mean"):
        mean_weights([{"a": torch.zeros(3)}, other])
