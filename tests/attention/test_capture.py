"""capture() sees every attention as the kernel saw it, and puts the model back."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.models.deit import VisionTransformerDistilled
from timm.models.tnt import TNT
from torch import nn

import families
import tiny
from getam.attention.capture import Geometry, MatrixCall, capture, frozen, geometry, global_calls, token_calls
from getam.errors import CaptureError, InputError


@pytest.mark.parametrize("name", tiny.MODELS)
def test_every_attention_in_order_by_name(name: str) -> None:
    model = tiny.MODELS[name]()
    side = 42 if name == "patch 14" else 32
    with torch.no_grad(), capture(model) as tap:
        model(tiny.photos(1, side, side, model))
    assert tap.names == [n for n, m in model.named_modules() if hasattr(m, "fused_attn")]
    place = geometry(model, side, side)
    assert {call.tokens for call in tap.calls} == {place.prefix + place.grid[0] * place.grid[1]}


@pytest.mark.parametrize("name", ["plain", "relative position bias, token", "rotary", "query and key norm"])
def test_tensors_reproduce_softmax_attention(name: str) -> None:
    model = tiny.MODELS[name]()
    with torch.no_grad(), capture(model) as tap:
        model(tiny.photos(2))
    for call in tap.calls:
        logits = torch.einsum("bhmd,bhnd->bhmn", call.query, call.key) * call.scale
        if call.bias is not None:
            logits = logits + call.bias
        weights = logits.exp() / logits.exp().sum(-1, keepdim=True)
        output = torch.einsum("bhmn,bhnd->bhmd", weights, call.value)
        torch.testing.assert_close(call.output, output, rtol=1e-4, atol=1e-5)
    assert (tap.calls[0].bias is not None) == name.startswith("relative")


class Masked(nn.Module):
    """Attention where no query sees the last key, said with a boolean mask."""

    fused_attn = False

    def forward(self, x: torch.Tensor, **options: Any) -> torch.Tensor:
        return F.scaled_dot_product_attention(x, x, x, **options)


def test_a_boolean_mask_becomes_a_bias() -> None:
    x, mask = torch.randn(1, 2, 3, 4), torch.tensor([[True, True, False]])
    with capture(Masked()) as tap:
        output = Masked()(x, attn_mask=mask, scale=0.3)
    (call,) = tap.calls
    assert call.scale == 0.3
    weights = (0.3 * x @ x.transpose(-2, -1) + call.bias).softmax(-1)
    assert not weights[..., 2].any()
    torch.testing.assert_close(weights @ x, output)


@pytest.mark.parametrize("option", [{"is_causal": True}, {"dropout_p": 0.5}])
def test_undefined_attentions_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(CaptureError), capture(Masked()):
        Masked()(torch.randn(1, 2, 3, 4), **option)


def test_attention_dropout_is_refused_only_when_active() -> None:
    model = tiny.vit(attn_drop_rate=0.1)
    with capture(model) as tap:
        model(tiny.photos(1))
    assert len(tap.calls) == 4
    with pytest.raises(CaptureError, match=r"blocks\.0\.attn \(p=0\.1\)"), capture(model.train()):
        model(tiny.photos(1))


@pytest.mark.parametrize("fails", [False, True])
def test_flags_and_hooks_are_put_back(fails: bool) -> None:
    model = tiny.vit()
    model.blocks[1].attn.fused_attn = False
    model.blocks[2].eval()
    model.train()
    model.cls_token.requires_grad_(False)

    def state() -> Any:
        return [
            (m.training, getattr(m, "fused_attn", None), len(m._forward_hooks), len(m._forward_pre_hooks))
            for m in model.modules()
        ] + [p.requires_grad for p in model.parameters()]

    before = state()
    try:
        with capture(model) as tap:
            assert model.blocks[1].attn.fused_attn
            model(tiny.photos(1))
            if fails:
                raise KeyError("inside")
    except KeyError:
        pass
    assert len(tap.calls) == 4
    assert state() == before
    model(tiny.photos(1))
    assert len(tap.calls) == 4


def test_names_are_right_after_a_forward_that_failed() -> None:
    model = tiny.vit()
    images = tiny.photos(1)
    with capture(model) as tap:
        hook = model.blocks[1].attn.proj.register_forward_pre_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model(images)
        hook.remove()
        tap.calls.clear()
        model(images)
    assert tap.names == [f"blocks.{i}.attn" for i in range(4)]


def test_capture_changes_no_number() -> None:
    model, images = tiny.vit(), tiny.photos(2)
    with capture(model, leaf_from=2):
        inside = model(images)
    assert torch.equal(inside, model(images))


def test_the_graph_starts_at_the_leaf() -> None:
    model, images = tiny.vit(), tiny.photos(1)
    with frozen(model), capture(model, leaf_from=2) as tap:
        scores = model(images)
    flags = [(call.output.requires_grad, call.output.is_leaf) for call in tap.calls]
    assert flags == [(False, True), (False, True), (True, True), (True, False)]
    (gradient,) = torch.autograd.grad(scores.sum(), tap.calls[2].output)
    assert gradient.any()
    for call in tap.calls[:2]:  # of what is never read only the shapes are kept
        for kept in (call.query, call.key, call.value, call.output):
            assert kept.shape == (1, 3, 17, 8)
            assert kept.untyped_storage().nbytes() == 4


def test_a_graph_that_exists_is_not_cut() -> None:
    model, images = tiny.vit(), tiny.photos(1)
    with capture(model, leaf_from=0) as tap:
        model(images).sum().backward()
    assert not any(call.output.is_leaf for call in tap.calls)
    assert model.patch_embed.proj.weight.grad is not None


def test_frozen_restores_mixed_flags_and_batch_norms() -> None:
    model = tiny.hybrid_vit().train()
    norm = model.patch_embed.backbone[1]
    other = nn.BatchNorm2d(3).eval()
    model.add_module("other", other)
    model.cls_token.requires_grad_(False)
    before = [p.requires_grad for p in model.parameters()]
    statistics = norm.running_mean.clone()
    with pytest.raises(KeyError), frozen(model):  # noqa: PT012
        assert not any(p.requires_grad for p in model.parameters())
        assert not norm.training
        assert model.training
        model(tiny.photos(2))
        raise KeyError
    assert [p.requires_grad for p in model.parameters()] == before
    assert norm.training
    assert not other.training
    assert torch.equal(norm.running_mean, statistics)


@pytest.mark.parametrize(
    ("build", "size", "wanted"),
    [
        (tiny.vit, (32, 32), Geometry(1, (4, 4), "cls")),
        (partial(tiny.vit, VisionTransformerDistilled), (32, 32), Geometry(2, (4, 4), "cls")),
        (partial(tiny.vit, reg_tokens=4), (32, 32), Geometry(5, (4, 4), "cls")),
        (partial(tiny.vit, img_size=42, patch_size=14), (42, 42), Geometry(1, (3, 3), "cls")),
        (partial(tiny.vit, img_size=(24, 40)), (24, 40), Geometry(1, (3, 5), "cls")),
        (partial(tiny.vit, global_pool="avg"), (32, 32), Geometry(1, (4, 4), "patches")),
        (partial(tiny.vit, global_pool="avg", class_token=False), (32, 32), Geometry(0, (4, 4), "patches")),
        (partial(tiny.vit, global_pool="map", class_token=False), (32, 32), Geometry(0, (4, 4), "pool")),
        (partial(tiny.vit, dynamic_img_size=True), (40, 24), Geometry(1, (5, 3), "cls")),
        (partial(tiny.vit, dynamic_img_size=True, dynamic_img_pad=True), (33, 24), Geometry(1, (5, 3), "cls")),
        (tiny.hybrid_vit, (32, 32), Geometry(1, (4, 4), "cls")),
        (tiny.MODELS["relative position bias, averaged"], (32, 32), Geometry(1, (4, 4), "patches")),
        (tiny.hybrid_segmenter, (24, 40), Geometry(1, (3, 5), "cls", 0)),
        (partial(tiny.vit_segmenter, class_token=False, global_pool="avg"), (32, 24), Geometry(0, (4, 3), "patches")),
    ],
)  # fmt: skip
def test_geometry_is_where_the_tokens_are(build: Any, size: tuple[int, int], wanted: Geometry) -> None:
    model = build()
    assert geometry(model, *size) == wanted
    with torch.no_grad(), capture(model) as tap:
        model(tiny.photos(1, *size, model))
    assert len(global_calls(tap, wanted)) == 4


@pytest.mark.parametrize("model", [nn.Linear(2, 2), nn.Sequential(nn.Conv2d(3, 3, 3))])
def test_a_model_without_a_patch_grid_is_refused(model: nn.Module) -> None:
    with pytest.raises(CaptureError, match="no patch_embed with a known grid"):
        geometry(model, 32, 32)


def test_a_photo_size_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="32×32"):
        geometry(tiny.vit(), 40, 40)
    with pytest.raises(InputError, match="8×8"):
        geometry(tiny.vit(dynamic_img_size=True), 36, 32)


def test_tokens_that_do_not_match_the_grid_are_refused() -> None:
    model = tiny.vit()
    with torch.no_grad(), capture(model) as tap:
        model(tiny.photos(1))
    with pytest.raises(CaptureError, match=r"captured 4 attentions over \[17\] tokens.* = 16 tokens"):
        global_calls(tap, Geometry(0, (4, 4), "patches"))


# Attention computed by hand


def tnt(**options: Any) -> Any:
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "inner_dim": 8, "depth": 2, "num_heads_inner": 2,
             "num_heads_outer": 3, "num_classes": 5}  # fmt: skip
    return tiny.awake(TNT(**sizes | options))


def test_matrices_made_by_hand_are_the_ones_that_are_used() -> None:
    model = tnt()
    with torch.no_grad(), capture(model) as tap:
        model(tiny.photos(2))
    assert tap.names == [f"blocks.{i}.attn_{where}" for i in (0, 1) for where in ("in", "out")]
    assert all(isinstance(call, MatrixCall) for call in tap.calls)
    assert [(len(call.output), call.queries, call.tokens) for call in tap.calls] == [
        (32, 4, 4),
        (2, 17, 17),
    ] * 2
    for call in tap.calls:
        torch.testing.assert_close(call.output.sum(-1), torch.ones(call.output.shape[:-1]))
    assert not any(module._forward_hooks for module in model.modules())


def test_dropout_in_a_matrix_made_by_hand_is_refused_only_when_active() -> None:
    model = tnt(attn_drop_rate=0.1)
    with capture(model) as tap:
        model(tiny.photos(1))
    assert len(tap.calls) == 4
    with pytest.raises(CaptureError, match=r"blocks\.0\.attn_in \(p=0\.1\)"), capture(model.train()):
        model(tiny.photos(1))


def test_two_forwards_in_one_capture_are_refused() -> None:
    model = tiny.vit()
    place = geometry(model, 32, 32)
    with torch.no_grad(), capture(model) as tap:
        model(tiny.photos(1))
        model(tiny.photos(1))
    for choose in (global_calls, lambda *given: token_calls(*given, 0)):
        with pytest.raises(CaptureError, match=r"blocks\.0\.attn attended more than once"):
            choose(tap, place)


def test_the_geometry_of_a_model_with_two_grids_is_refused() -> None:
    both = nn.ModuleList([tiny.vit(), tiny.vit(patch_size=16)])
    with pytest.raises(CaptureError, match="one patch grid"):
        geometry(both, 32, 32)


def test_a_compiled_patch_embedding_is_one_grid() -> None:
    model = tiny.vit()
    model.patch_embed = torch.compile(model.patch_embed, backend="eager")
    assert geometry(model, 32, 32) == Geometry(1, (4, 4), "cls")


def test_blocks_before_the_class_token_joins_are_not_dropped_as_if_a_stem() -> None:
    (family,) = (f for f in families.WORKS if f.name == "ConViT")
    model = tiny.awake(family.make())
    with torch.no_grad(), capture(model) as tap:
        model(tiny.photos(1))
    place = geometry(model, 32, 32)
    assert [call.tokens for call in tap.calls] == [16, 16, 16, 17]
    assert token_calls(tap, place, 0) == tap.calls[3:]
    with pytest.raises(CaptureError, match=r"captured 4 attentions over \[16, 17\] tokens"):
        global_calls(tap, place)


class ByHand(nn.Module):
    """As timm's attentions that make their matrix themselves."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.attn_drop = nn.Dropout(dropout)

    def forward(self, matrix: torch.Tensor) -> torch.Tensor:
        return self.attn_drop(matrix)


def test_windows_made_by_hand_are_let_through() -> None:
    model = ByHand(0.5).train()
    with capture(model) as tap:
        model(torch.rand(1, 2, 3, 4, 4))
        model(torch.rand(2, 4, 4))
    assert not tap.calls
    with capture(model.eval(), leaf_from=0) as tap:
        output = model(torch.rand(2, 3, 4, 4))
    assert tap.names == [""]
    assert tap.calls[0].output is output
    assert output.requires_grad


def test_an_attention_outside_of_any_module_is_numbered() -> None:
    model, x = tiny.vit(), torch.randn(1, 2, 3, 4)
    with capture(model) as tap:
        with pytest.raises(RuntimeError):
            model.blocks[1].attn(torch.zeros(1, 2, 3))  # fails inside a named attention
        for _ in range(2):
            F.scaled_dot_product_attention(x, x, x)
        F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None])  # windows
    assert tap.names == ["attention 0", "attention 1"]


def test_a_frozen_capture_is_a_capture_of_the_frozen_model() -> None:
    model, images = tiny.hybrid_vit().train(), tiny.photos(2)
    norm = model.patch_embed.backbone[1]
    model.set_grad_checkpointing()
    with frozen(model), capture(model, leaf_from=2) as wanted:
        assert not model.grad_checkpointing
        scores = model(images)
    assert model.grad_checkpointing is True
    with capture(model, leaf_from=2, freeze=True) as tap:
        assert not norm.training
        assert torch.equal(model(images), scores)
    assert norm.num_batches_tracked == 0
    assert [call.output.requires_grad for call in tap.calls] == [False, False, True, True]
    assert tap.calls[2].output.is_leaf
    for found, call in zip(tap.calls[2:], wanted.calls[2:]):
        assert torch.equal(found.output, call.output)
    with capture(model) as free:
        model(images)
    assert free.calls[0].output.requires_grad
    assert norm.num_batches_tracked == 1


def test_what_stands_for_a_parameter_in_a_list_and_for_a_flag_of_the_frozen() -> None:
    """Batch norms of others pass their flag on to torch."""

    class Own(nn.BatchNorm2d):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            given = torch.cat([input, self.row], 2)
            return F.batch_norm(given, self.running_mean, self.running_var, training=self.training)

    norm, x = Own(3), torch.randn(1, 3, 2, 4)
    norm.row = nn.Parameter(torch.randn(1, 3, 1, 4))
    norm.running_mean.fill_(0.7)  # type: ignore[union-attr]
    wanted = norm.eval()(x)
    with frozen(norm.train()):
        found = norm(x)
    assert wanted.requires_grad
    assert not found.requires_grad
    torch.testing.assert_close(found, wanted)
