"""rollout() against the whole product of N×N matrices."""

import pytest
import torch

import tiny
from getam.errors import CaptureError
from getam.maps.methods.rollout import rollout
from getam.nets.segmenter import Segmenter


def attention_matrices(model: torch.nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """(B,N,N) of every block, averaged over heads, materialised with fused attention off."""
    kept: list[torch.Tensor] = []
    attentions = [m for m in model.modules() if hasattr(m, "fused_attn")]
    for attention in attentions:
        attention.fused_attn = False
        attention.attn_drop.register_forward_hook(lambda _m, _i, out: kept.append(out.detach().mean(1)))
    model(images)
    return kept


@pytest.mark.parametrize(
    "name", ["plain", "4 registers", "averaged", "relative position bias, token", "segmenter, hybrid"]
)
def test_equals_the_whole_product(name: str) -> None:
    model = tiny.MODELS[name]()
    images = tiny.photos(2, model=model)
    maps = rollout(model, images, [[1, 0], [2]])
    whole = None
    for A in attention_matrices(model, images):
        step = 0.5 * (A + torch.eye(A.shape[-1]))
        whole = step if whole is None else step @ whole
    assert whole is not None
    row = whole[:, -16:].mean(1) if name == "averaged" else whole[:, 0]
    wanted = row[:, -16:].view(2, 4, 4)
    for b, k in ((0, 0), (0, 1), (1, 0)):
        torch.testing.assert_close(maps.values[b, k], wanted[b], rtol=1e-4, atol=1e-7)
    assert not maps.values[1, 1].any()
    assert maps.rows == ("patches" if name == "averaged" else "cls")
    if not isinstance(model, Segmenter):
        torch.testing.assert_close(maps.scores[0], model(images)[0, [1, 0]].detach())


def test_a_pooled_model_is_read_at_its_patches_and_says_so() -> None:
    maps = rollout(tiny.vit(global_pool="map", class_token=False), tiny.photos(1), [[1]])
    assert maps.rows == "patches"
    torch.testing.assert_close(maps.values.sum(), torch.tensor(1.0))


def test_the_model_is_left_as_it_was() -> None:
    model = tiny.hybrid_segmenter().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rollout(model, tiny.photos(2, model=model), [[1], []])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(m.training and not m._forward_hooks for m in model.modules())


def test_a_model_without_global_attention_is_refused() -> None:
    with pytest.raises(CaptureError):
        rollout(torch.nn.Linear(2, 2), tiny.photos(1), [[0]])
