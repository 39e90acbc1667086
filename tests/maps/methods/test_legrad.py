"""legrad() against materialised attention matrices, block by block."""

from typing import Any

import pytest
import torch
from torch import nn

import tiny
from getam.attention.geometry import Geometry, geometry
from getam.errors import CaptureError, InputError
from getam.maps.methods.legrad import legrad
from getam.nets.classifier import Classifier


def by_definition(model: Any, image: torch.Tensor, c: int, start: int = 0) -> torch.Tensor:
    """mean_ℓ mean_H mean_rows relu(∂s^ℓ/∂A^ℓ) of one photo, with fused attention off."""
    kept: list[torch.Tensor] = []
    tokens: list[torch.Tensor] = []
    hooks = []
    for block in model.blocks:
        block.attn.fused_attn = False
        hooks.append(block.attn.attn_drop.register_forward_hook(lambda _m, _i, out: kept.append(out)))
        hooks.append(block.register_forward_hook(lambda _m, _i, out: tokens.append(out)))
    model(image)
    found = []
    for A, z in list(zip(kept, tokens))[start:]:
        (G,) = torch.autograd.grad(model.forward_head(model.norm(z))[0, c], A, retain_graph=True)
        found.append(G[0].clamp(min=0).mean((0, 1))[-16:])
    for hook in hooks:
        hook.remove()
    for block in model.blocks:
        block.attn.fused_attn = True
    return torch.stack(found).mean(0).view(4, 4)


@pytest.mark.parametrize(
    "name", ["plain", "distilled, 2 prefix tokens", "4 registers", "averaged", "relative position bias, averaged",
             "rotary"]
)  # fmt: skip
def test_equals_the_definition(name: str) -> None:
    model = tiny.MODELS[name]()
    images = tiny.photos(2)
    maps = legrad(model, images, [[1, 0], [2]])
    for b, k, c in ((0, 0, 1), (0, 1, 0), (1, 0, 2)):
        wanted = by_definition(model, images[b : b + 1], c)
        torch.testing.assert_close(maps.values[b, k], wanted, rtol=1e-3, atol=1e-6 * float(wanted.max()))
    assert not maps.values[1, 1].any()
    torch.testing.assert_close(maps.scores[0], model(images)[0, [1, 0]].detach())


def test_start_leaves_early_blocks_out() -> None:
    model, image = tiny.vit(), tiny.photos(1)
    wanted = by_definition(model, image, 1, start=3)
    torch.testing.assert_close(
        legrad(model, image, [[1]], start=3).values[0, 0], wanted, rtol=1e-3, atol=1e-9
    )
    with pytest.raises(InputError, match=r"start=4 is outside 0\.\.3"):
        legrad(model, image, [[1]], start=4)


def test_a_pooling_attention_takes_the_place_of_the_blocks_own() -> None:
    model, image = tiny.vit(global_pool="map", class_token=False), tiny.photos(1)
    maps = legrad(model, image, [[1]])
    tokens: list[torch.Tensor] = []
    hooks = [b.register_forward_hook(lambda _m, _i, out: tokens.append(out)) for b in model.blocks]
    model(image)
    for hook in hooks:
        hook.remove()
    from matrices import Softmaxes

    model.attn_pool.fused_attn = False
    found = []
    for z in tokens:
        kept: list[torch.Tensor] = []
        with Softmaxes(kept):
            score = model.forward_head(model.norm(z))[0, 1]
        (G,) = torch.autograd.grad(score, kept[0], retain_graph=True)
        found.append(G[0].clamp(min=0).mean((0, 1)))
    wanted = torch.stack(found).mean(0).view(4, 4)
    torch.testing.assert_close(maps.values[0, 0], wanted, rtol=1e-3, atol=1e-6 * float(wanted.max()))


def test_a_module_around_the_transformer_gets_its_maps() -> None:
    model = tiny.vit()
    classifier = Classifier(model, tuple("abcde")).eval()
    photos = tiny.photos(2).abs() * 60
    wanted = legrad(model, (photos - classifier.mean) / classifier.std, [[1, 0], [2]])
    torch.testing.assert_close(legrad(classifier, photos, [[1, 0], [2]]).values, wanted.values)


def test_what_cannot_be_done_is_said() -> None:
    with pytest.raises(CaptureError, match="Sequential has no blocks, norm and forward_head"):
        legrad(nn.Sequential(tiny.vit().patch_embed), tiny.photos(1), [[1]])
    with pytest.raises(CaptureError, match="head of Segmenter on its last block does not give"):
        legrad(tiny.vit_segmenter(), tiny.photos(1, model=tiny.vit_segmenter()), [[1]])
    other = tiny.vit()
    other.head.register_forward_hook(lambda _m, _i, out: out)
    other.norm.register_forward_hook(lambda _m, _i, out: out * torch.rand(()))
    with pytest.raises(CaptureError, match="does not give the model's score"):
        legrad(other, tiny.photos(1), [[1]])
    with torch.inference_mode(), pytest.raises(CaptureError, match="inference_mode"):
        legrad(tiny.vit(), tiny.photos(1), [[1]])


def test_a_distilled_model_in_train_mode_is_read_by_both_its_heads() -> None:
    model, image = tiny.MODELS["distilled, 2 prefix tokens"](), tiny.photos(1)
    wanted = legrad(model, image, [[1, 2]])
    assert wanted.values.any()
    found = legrad(model.train(), image, [[1, 2]])
    torch.testing.assert_close(found.values, wanted.values)
    torch.testing.assert_close(found.scores, wanted.scores)


@pytest.mark.parametrize(
    ("factor", "same"), [(1 + 0.0005, True), (1 - 0.0005, True), (1.002, False), (0.998, False)]
)
def test_the_head_must_give_the_models_score_to_a_thousandth(factor: float, same: bool) -> None:
    class Scaled(nn.Module):
        """A module around a transformer that does a little more behind it."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = tiny.vit()

        def geometry(self, height: int, width: int) -> Geometry:
            return geometry(self.inner, height, width)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.inner(images) * factor

    model, image = Scaled(), tiny.photos(1)
    if same:
        assert legrad(model, image, [[1]]).values.any()
    else:
        with pytest.raises(CaptureError, match="does not give the model's score"):
            legrad(model, image, [[1]])


def test_blocks_that_hand_on_more_than_tokens_are_refused() -> None:
    model = tiny.vit()
    model.blocks[1].register_forward_hook(lambda _module, _inputs, output: (output, output))
    model.blocks[2].register_forward_pre_hook(lambda _module, inputs: (inputs[0][0],))
    with pytest.raises(CaptureError, match="blocks of VisionTransformer hand on more than the tokens"):
        legrad(model, tiny.photos(1), [[1]])


def test_start_must_be_a_block() -> None:
    with pytest.raises(InputError, match=r"start=-1 is outside 0\.\.3"):
        legrad(tiny.vit(), tiny.photos(1), [[1]], start=-1)
    assert torch.equal(*(legrad(tiny.vit(), tiny.photos(1), [[1]], **o).values for o in ({}, {"start": 0})))


def test_a_block_without_attention_is_named() -> None:
    class Nothing(nn.Module):
        def forward(self, tokens: torch.Tensor, **_: object) -> torch.Tensor:
            return tokens

    model = tiny.vit()
    model.blocks[1].attn = Nothing()
    with pytest.raises(CaptureError, match=r"blocks\.1 has no attention over the patch grid"):
        legrad(model, tiny.photos(1), [[1]])
