"""Models of `transformers` against `output_attentions` of their eager path: every matrix, its gradient by autograd."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tiny
from getam.attention.capture import capture
from getam.attention.geometry import Geometry, geometry
from getam.errors import CaptureError, InputError
from getam.maps.methods.getam import COUPLINGS, differentiable_maps, getam
from getam.maps.methods.gradcam import gradcam
from getam.maps.methods.gradient_rollout import gradient_rollout
from getam.maps.methods.rollout import rollout
from getam.maps.registry import REGISTRY
from getam.maps.scores import class_scores

hugging: Any = pytest.importorskip("hugging", reason="transformers is not installed", exc_type=ImportError)
transformers = hugging.transformers

PLACES = {
    "ViT": Geometry(1, (4, 4), "cls"),
    "ViT MSN": Geometry(1, (4, 4), "cls"),
    "DeiT": Geometry(2, (4, 4), "cls"),
    "DeiT, distilled": Geometry(2, (4, 4), "cls"),
    "DINOv2": Geometry(1, (4, 4), "cls+patches"),
    "DINOv2, registers": Geometry(5, (4, 4), "cls+patches"),
    "SigLIP": Geometry(0, (4, 4), "patches"),
    "CLIP": Geometry(1, (4, 4), "patches"),
    "MetaCLIP 2": Geometry(1, (4, 4), "patches"),
    "I-JEPA": Geometry(0, (4, 4), "patches"),
    "BEiT": Geometry(1, (4, 4), "patches"),
    "BEiT, from its token": Geometry(1, (4, 4), "cls"),
}


def matrices(family: str, image: Tensor, c: int, **options: Any) -> tuple[list[Tensor], list[Tensor]]:
    """A and ∂s_c/∂A, (H,N,N) of every block, out of `output_attentions`."""
    output = hugging.model(family, "eager", **options)(pixel_values=image, output_attentions=True)
    A = list(output.attentions)
    G = torch.autograd.grad(output.logits[0, c], A, allow_unused=True)
    return [a[0].detach() for a in A], [torch.zeros_like(a[0]) if g is None else g[0] for a, g in zip(A, G)]


def wanted(A: list[Tensor], G: list[Tensor], place: Geometry, coupling: str, start: int = 2) -> Tensor:
    """The formula on whole matrices, then the row that is read."""
    patches = place.grid[0] * place.grid[1]
    total = torch.zeros(place.tokens, place.tokens)
    for a, g in list(zip(A, G))[start:]:
        total += {
            "grad": g.relu().mean(0),
            "grad2": g.relu().mean(0) ** 2,
            "attn_grad": (a * g).relu().mean(0),
            "attn_grad2": (a * g).relu().mean(0) * g.relu().mean(0),
        }[coupling]
    token, mean = total[0], total[place.prefix :].mean(0)
    row = {"cls": token, "patches": mean, "cls+patches": (token + mean) / 2}[place.rows]
    return row[-patches:].view(place.grid)


def close(found: Tensor, expected: Tensor) -> None:
    assert expected.max() > 0
    assert expected.std() > 0.05 * expected.mean(), "a flat map would fit anything"
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.max()))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", PLACES)
def test_equals_the_matrices_for_every_coupling(family: str, attention: str) -> None:
    model, images = hugging.model(family, attention), tiny.photos(2)
    assert geometry(model, 32, 32) == PLACES[family]
    read = {c: matrices(family, images[photo : photo + 1], c) for photo, c in ((0, 2), (1, 4))}
    for coupling in COUPLINGS:
        maps = getam(model, images, [[2], [4]], coupling=coupling)
        assert maps.rows == PLACES[family].rows
        for photo, c in ((0, 2), (1, 4)):
            close(maps.values[photo, 0], wanted(*read[c], PLACES[family], coupling))
        torch.testing.assert_close(maps.scores[:, 0], model(images).logits[[0, 1], [2, 4]])


def test_every_family_is_tested() -> None:
    assert list(PLACES) == list(hugging.FAMILIES)


def state(model: nn.Module) -> list[Any]:
    """What a call could leave behind."""
    modules = list(model.modules())
    return [
        [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks), sorted(vars(m))) for m in modules],
        [(p.requires_grad, p.grad, p.detach().numpy().tobytes()) for p in model.parameters()],
        [(m.config.to_dict(), m.config._attn_implementation) for m in modules if hasattr(m, "config")],
    ]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["ViT", "SigLIP"])
def test_the_model_is_left_as_it_was(family: str, attention: str) -> None:
    model, images = hugging.model(family, attention), tiny.photos(1)
    before, scores = state(model), model(images).logits
    getam(model, images, [[1]])
    assert state(model) == before
    torch.testing.assert_close(model(images).logits, scores, rtol=0, atol=0)


def test_only_blocks_that_count_have_a_graph() -> None:
    for attention in ("sdpa", "eager"):
        model = hugging.model("ViT", attention)
        with capture(model, leaf_from=3, freeze=True) as tap:
            class_scores(model, tiny.photos(1))
        assert [call.output.requires_grad for call in tap.calls] == [False, False, False, True]
        assert tap.names == [f"vit.layers.{i}.attention" for i in range(4)]


@pytest.mark.parametrize("family", ["ViT", "SigLIP", "DINOv2"])
@pytest.mark.parametrize("layers", [3, 4])
def test_half_of_the_blocks_count_and_no_pooling_head(family: str, layers: int) -> None:
    option = "layers" if family == "SigLIP" else "num_hidden_layers"
    image, place = tiny.photos(1), PLACES[family]
    read = matrices(family, image, 3, **{option: layers})
    for start, first in ((None, layers // 2), (0, 0), (layers - 1, layers - 1)):
        found = getam(hugging.model(family, **{option: layers}), image, [[3]], start=start)
        close(found.values[0, 0], wanted(*read, place, "attn_grad2", first))


def test_training_mode_without_dropout_and_with_checkpoints() -> None:
    images = tiny.photos(1)
    expected = getam(hugging.model("ViT"), images, [[1]]).values
    model = hugging.model("ViT")
    for (
        layer
    ) in model.vit.layers:  # as `activation_checkpointing_enable` of one version, of another name in others
        layer.gradient_checkpointing = True
    model.train()
    close(getam(model, images, [[1]]).values, expected)
    assert all(layer.gradient_checkpointing for layer in model.vit.layers)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_active_dropout_is_refused(attention: str) -> None:
    model = hugging.model("ViT", attention, attention_probs_dropout_prob=0.25)
    expected = getam(hugging.model("ViT"), tiny.photos(1), [[1]]).values
    close(getam(model, tiny.photos(1), [[1]]).values, expected)
    with pytest.raises(CaptureError, match=r"dropout is active in vit\.layers\.0\.attention \(p=0\.25\)"):
        getam(model.train(), tiny.photos(1), [[1]])


def test_a_kernel_that_cannot_be_read_names_the_remedy() -> None:
    model = hugging.model("ViT")
    model.config._attn_implementation = "flex_attention"
    with pytest.raises(CaptureError, match=r"'flex_attention', which.*set_attn_implementation\('sdpa'\)"):
        getam(model, tiny.photos(1), [[1]])
    model.set_attn_implementation("sdpa")
    assert getam(model, tiny.photos(1), [[1]]).values.max() > 0


def test_photos_of_other_sizes() -> None:
    shared = {"use_relative_position_bias": False, "use_shared_relative_position_bias": True}
    for family, options in (("ViT", {}), ("CLIP", {}), ("SigLIP", {}), ("BEiT", {}), ("BEiT", shared)):
        with pytest.raises(InputError, match="photos are 40×32 but the model takes 32×32"):
            geometry(hugging.FAMILIES[family](**options), 40, 32)
    with pytest.raises(InputError, match=r"photos are 36×32 but the model's patches are 8×8.*multiples"):
        geometry(hugging.model("DINOv2"), 36, 32)
    maps = getam(hugging.model("DINOv2, registers"), tiny.photos(1, 40, 32), [[1]])
    assert maps.grid == (5, 4)
    assert maps.values.max() > 0
    oblong = hugging.model("ViT", image_size=(48, 32), patch_size=(16, 8))
    assert geometry(oblong, 48, 32) == Geometry(1, (3, 4), "cls")


class Around(nn.Module):
    """A head of one's own on a body that does not say where it is read."""

    def __init__(self, body: nn.Module, where: str) -> None:
        super().__init__()
        self.body, self.where, self.head = body, where, nn.Linear(24, 5)

    def forward(self, images: Tensor) -> Tensor:
        output = self.body(images)
        read = {"pool": output.pooler_output, "cls": output.last_hidden_state[:, 0]}
        return self.head(read[self.where])


def test_a_body_of_ones_own_head_is_asked_where_it_is_read() -> None:
    body = transformers.ViTModel(transformers.ViTConfig(**hugging.BODY))
    model = tiny.awake(Around(body, "cls"))
    with pytest.raises(CaptureError, match=r"does not say where its class score is read.*rows='cls'"):
        getam(model, tiny.photos(1), [[1]])
    assert getam(model, tiny.photos(1), [[1]], rows="cls").values.max() > 0


def test_the_pooling_head_of_siglip() -> None:
    body = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**hugging.BODY))
    model, image = tiny.awake(Around(body, "pool")), tiny.photos(1)
    scores = model(image)
    found = getam(model, image, [[3]], rows="pool")
    # By hand: the head's attention, its value and output projections, from the normalised tokens.
    head = body.head.attention
    tokens = body(image).last_hidden_state
    q, k, v = nn.functional.linear(tokens, head.in_proj_weight, head.in_proj_bias).chunk(3, -1)
    q = nn.functional.linear(body.head.probe, head.in_proj_weight[:24], head.in_proj_bias[:24])
    q, k, v = (t.unflatten(-1, (3, 8)).transpose(1, 2) for t in (q, k, v))
    A = (q @ k.transpose(-2, -1) / 8**0.5).softmax(-1)
    pooled = head.out_proj((A @ v).transpose(1, 2).flatten(2))
    score = model.head((pooled + body.head.mlp(body.head.layernorm(pooled)))[:, 0])[0, 3]
    torch.testing.assert_close(score, scores[0, 3])
    (G,) = torch.autograd.grad(score, A)
    expected = (A * G).relu().mean(1) * G.relu().mean(1)
    close(found.values[0, 0], expected.detach().view(4, 4))


def test_losses_on_maps() -> None:
    model, images = hugging.model("DINOv2"), tiny.photos(1)
    maps = differentiable_maps(model, images, [[2]])
    torch.testing.assert_close(maps.detach(), getam(model, images, [[2]]).values, rtol=1e-4, atol=1e-8)
    maps.sum().backward()
    first = next(m for n, m in model.named_modules() if n.endswith("q_proj"))
    assert first.weight.grad.abs().max() > 0


@pytest.mark.parametrize("family", ["DINOv2", "CLIP", "ViT"])
def test_rollouts_read_the_rows_of_the_score(family: str) -> None:
    image, place = tiny.photos(1), PLACES[family]
    A, G = matrices(family, image, 3)
    plain = grown = torch.eye(place.tokens)
    for a, g in zip(A, G):
        plain = (a.mean(0) + torch.eye(place.tokens)) / 2 @ plain
        grown = grown + (a * g).relu().mean(0) @ grown
    for method, product in ((rollout, plain), (gradient_rollout, grown - torch.eye(place.tokens))):
        maps = method(hugging.model(family), image, [[3]])
        assert maps.rows == place.rows
        token, mean = product[0], product[place.prefix :].mean(0)
        row = {"cls": token, "patches": mean, "cls+patches": (token + mean) / 2}[place.rows]
        torch.testing.assert_close(maps.values[0, 0].flatten(), row[-16:], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("family", PLACES)
def test_gradcam_reads_the_input_of_the_last_block_that_attends(family: str) -> None:
    model, image = hugging.model(family), tiny.photos(1)
    kept: list[Tensor] = []
    last = [
        m for n, m in model.named_modules() if n.endswith(("attention", "self_attn")) and hasattr(m, "config")
    ][-1]

    def keep(_module: nn.Module, args: Any, options: Any) -> None:
        kept.append(args[0] if args else options["hidden_states"])

    handle = last.register_forward_pre_hook(keep, with_kwargs=True)
    score = model(image).logits[0, 3]
    handle.remove()
    (g,) = torch.autograd.grad(score, kept)
    prefix = PLACES[family].prefix
    tokens, g = kept[0][0, prefix:].detach(), g[0, prefix:]
    expected = (tokens * g.mean(0)).sum(-1).relu().view(4, 4)
    torch.testing.assert_close(gradcam(model, image, [[3]]).values[0, 0], expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    "method", [n for n, m in REGISTRY.items() if m.per_class and n not in ("cam", "bas", "last-stage")]
)
def test_every_method_reads_them_or_says_why_not(method: str) -> None:
    model, images = hugging.model("DINOv2"), tiny.photos(2)
    if method == "legrad":
        with pytest.raises(CaptureError, match="LeGrad puts the model's head on each of its blocks"):
            REGISTRY[method].make(model, images, [[1], [2]])
    else:
        assert REGISTRY[method].make(model, images, [[1], [2]]).values.amax((2, 3)).min() > 0


def test_windows_are_refused_and_convolutions_have_cams() -> None:
    swin = transformers.SwinForImageClassification(
        transformers.SwinConfig(
            image_size=32, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4
        )
    ).eval()
    with pytest.raises(CaptureError, match="global"):
        getam(swin, tiny.photos(1), [[1]])
    resnet = tiny.awake(
        transformers.ResNetForImageClassification(
            transformers.ResNetConfig(
                embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=5
            )
        )
    )
    assert gradcam(resnet, tiny.photos(1, 64, 64), [[1]]).values.max() > 0
    with pytest.raises(CaptureError, match="no patch_embed"):
        getam(resnet, tiny.photos(1), [[1]])
