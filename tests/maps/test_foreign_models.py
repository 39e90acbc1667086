"""torchvision's and OpenCLIP's vision transformers against a timm model that is given the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import tiny
from getam.attention.capture import capture
from getam.attention.geometry import Geometry, geometry
from getam.errors import CaptureError, InputError
from getam.maps.methods.getam import getam
from getam.maps.methods.gradcam import gradcam
from getam.maps.methods.rollout import rollout
from matrices import by_definition, every_matrix


def torchvision_vit() -> Any:
    from torchvision.models.vision_transformer import VisionTransformer as Vit

    return tiny.awake(
        Vit(image_size=32, patch_size=8, num_layers=4, num_heads=3, hidden_dim=24, mlp_dim=96, num_classes=5)
    )


class ZeroShot(nn.Module):
    """An OpenCLIP tower and five prompts: the cosine of the image with each is its class score."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        towers = pytest.importorskip("open_clip.transformer", reason="open_clip_torch is not installed")
        sizes = {"image_size": 32, "patch_size": 8, "width": 24, "layers": 4, "heads": 3, "mlp_ratio": 4.0,
                 "output_dim": 6}  # fmt: skip
        self.visual = towers.VisionTransformer(**sizes | options)
        self.prompts = nn.Parameter(torch.zeros(5, 6))

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.normalize(self.visual(images), dim=-1) @ self.prompts.T


def blocks_of(model: Any) -> tuple[list[Any], dict[str, str]]:
    """The blocks of a foreign model, and what timm calls their parts."""
    if isinstance(model, ZeroShot):
        names = {
            "norm1": "ln_1",
            "attn": "attn",
            "norm2": "ln_2",
            "mlp.fc1": "mlp.c_fc",
            "mlp.fc2": "mlp.c_proj",
        }
        return list(model.visual.transformer.resblocks), names
    names = {
        "norm1": "ln_1",
        "attn": "self_attention",
        "norm2": "ln_2",
        "mlp.fc1": "mlp.0",
        "mlp.fc2": "mlp.3",
    }
    return list(model.encoder.layers), names


def as_timm(model: Any) -> Any:
    """A timm model with the same weights and the same scores."""
    clip = isinstance(model, ZeroShot)
    twin: Any = tiny.vit(pre_norm=clip, norm_layer="layernorm" if clip else None)
    for norm in (m for m in twin.modules() if isinstance(m, nn.LayerNorm)):
        norm.eps = 1e-5 if clip else 1e-6
    blocks, names = blocks_of(model)
    with torch.no_grad():
        for mine, theirs in zip(twin.blocks, blocks):
            for name, other in names.items():
                part = theirs.get_submodule(other)
                if isinstance(part, nn.MultiheadAttention):
                    mine.attn.qkv.weight.copy_(part.in_proj_weight)
                    mine.attn.qkv.bias.copy_(part.in_proj_bias)
                    mine.attn.proj.load_state_dict(part.out_proj.state_dict())
                else:
                    mine.get_submodule(name).load_state_dict(part.state_dict())
        if not clip:
            twin.cls_token.copy_(model.class_token)
            twin.pos_embed.copy_(model.encoder.pos_embedding)
            twin.patch_embed.proj.load_state_dict(model.conv_proj.state_dict())
            twin.norm.load_state_dict(model.encoder.ln.state_dict())
            twin.head.load_state_dict(model.heads.head.state_dict())
            return twin
        tower = model.visual
        twin.cls_token.copy_(tower.class_embedding[None, None])
        twin.pos_embed.copy_(tower.positional_embedding[None])
        twin.patch_embed.proj.weight.copy_(tower.conv1.weight)
        twin.norm_pre.load_state_dict(tower.ln_pre.state_dict())
        twin.norm.load_state_dict(tower.ln_post.state_dict())
    twin.head = Cosine(tower.proj, model.prompts)
    return twin


class Cosine(nn.Module):
    """The head of `ZeroShot` on the pooled features."""

    def __init__(self, projection: Tensor, prompts: Tensor) -> None:
        super().__init__()
        self.projection, self.prompts = projection, prompts

    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.normalize(features @ self.projection, dim=-1) @ self.prompts.T


FOREIGN = {"torchvision": torchvision_vit, "OpenCLIP": lambda: tiny.awake(ZeroShot())}


@pytest.mark.parametrize("name", FOREIGN)
def test_equals_the_timm_model_of_the_same_weights(name: str) -> None:
    model, images = FOREIGN[name](), tiny.photos(2)
    twin = as_timm(model)
    torch.testing.assert_close(model(images), twin(images), rtol=1e-4, atol=1e-5)
    for method in (getam, gradcam, rollout):
        found, wanted = method(model, images, [[1, 3], [2]]), method(twin, images, [[1, 3], [2]])
        assert found.rows == wanted.rows
        assert wanted.values.max() > 0
        torch.testing.assert_close(
            found.values, wanted.values, rtol=1e-3, atol=1e-5 * float(wanted.values.max())
        )


@pytest.mark.parametrize("name", FOREIGN)
def test_capture_changes_no_number_and_names_each_attention(name: str) -> None:
    model, images = FOREIGN[name](), tiny.photos(2)
    with torch.no_grad():
        plain = model(images)
        with capture(model) as tap:
            inside = model(images)
    torch.testing.assert_close(inside, plain, rtol=1e-5, atol=1e-6)
    assert tap.names == [n for n, m in model.named_modules() if isinstance(m, nn.MultiheadAttention)]
    assert len(tap.calls) == 4
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_where_the_score_is_read() -> None:
    assert geometry(torchvision_vit(), 32, 32) == Geometry(1, (4, 4), "cls")
    assert geometry(ZeroShot(), 32, 32) == Geometry(1, (4, 4), "cls")
    assert geometry(ZeroShot(pool_type="avg"), 32, 32) == Geometry(1, (4, 4), "patches")
    assert getam(tiny.awake(ZeroShot(pool_type="avg")), tiny.photos(1), [[1]]).values.max() > 0
    with pytest.raises(InputError, match="photos are 40×32 but the model takes 32×32"):
        geometry(torchvision_vit(), 40, 32)


def test_a_tower_that_pools_with_many_queries_is_refused() -> None:
    model = tiny.awake(ZeroShot(attentional_pool=True, attn_pooler_queries=4, attn_pooler_heads=2, width=24))
    with pytest.raises(CaptureError, match="no pooling attention"):
        getam(model, tiny.photos(1), [[1]])


class Weighted(nn.Module):
    """Asks `nn.MultiheadAttention` for the weights: left to torch, and not captured."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, tokens: Tensor, **options: Any) -> Any:
        return self.attention(tokens, tokens, tokens, **options)


@pytest.mark.parametrize(
    "options", [{"need_weights": True}, {"attn_mask": torch.zeros(3, 3, dtype=torch.bool)}]
)
def test_what_is_more_than_attention_runs_as_it_did(options: dict[str, Any]) -> None:
    model, tokens = Weighted().eval(), torch.randn(2, 3, 8)
    wanted, _ = model(tokens, **options)
    with capture(model) as tap:
        found, _ = model(tokens, **options)
    torch.testing.assert_close(found, wanted)
    assert not tap.calls


def test_other_widths_of_keys_and_values() -> None:
    attention = nn.MultiheadAttention(8, 2, kdim=6, vdim=4, bias=False)
    query, key, value = torch.randn(5, 3, 8), torch.randn(7, 3, 6), torch.randn(7, 3, 4)
    wanted, _ = attention(query, key, value, need_weights=False)
    with capture(attention) as tap:
        found, _ = attention(query, key, value, need_weights=False)
    torch.testing.assert_close(found, wanted)
    assert tap.calls[0].query.shape == (3, 2, 5, 4)
    assert tap.names == [""]


def test_a_headless_trunk_in_a_classifier_of_the_users() -> None:
    trunk = tiny.vit(num_classes=0)
    model = nn.Sequential(trunk, nn.Linear(24, 5)).eval()
    whole: VisionTransformer = tiny.vit()
    whole.load_state_dict(trunk.state_dict() | {f"head.{k}": v for k, v in model[1].state_dict().items()})
    images = tiny.photos(1)
    found = getam(model, images, [[3]])
    assert found.rows == "cls"
    torch.testing.assert_close(found.values, getam(whole, images, [[3]]).values)


def test_a_row_the_model_does_not_name_is_asked_for() -> None:
    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = tiny.vit(num_classes=0, global_pool="")
            self.head = nn.Linear(24, 5)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.trunk(images)[:, 0])

    model = First().eval()
    with pytest.raises(CaptureError, match=r"does not say where its class score is read.*rows='cls'"):
        getam(model, tiny.photos(1), [[1]])
    assert getam(model, tiny.photos(1), [[1]], rows="cls").values.max() > 0


@pytest.mark.parametrize("depth", [3, 4])
def test_the_latent_of_a_pooling_attention_is_not_the_class_token(depth: int) -> None:
    model = nn.Sequential(tiny.vit(depth=depth, global_pool="map", num_classes=0), nn.Linear(24, 5)).eval()
    images = tiny.photos(1)
    A, G = every_matrix(model, images, 3, pool=False)
    wanted = by_definition(A, G, "cls", 1, (4, 4))
    found = getam(model, images, [[3]], rows="cls").values[0, 0]
    assert wanted.max() > 0
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-6 * float(wanted.max()))
