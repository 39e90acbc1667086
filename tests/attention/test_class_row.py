"""Cutting the graph of the first block that counts to the class token's row: same maps, only where rows do not mix."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import Block, ParallelScalingBlock
from torch import Tensor, nn

import tiny
from getam.attention.class_row import class_row_graph
from getam.maps.methods import getam as getam_module
from getam.maps.methods.getam import getam


class Mixing(Block):
    """Somebody's own block: its tokens meet after the attention too."""

    def forward(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        return super().forward(x, *args, **options) + x.mean(1, keepdim=True)


LEFT_ALONE = {
    "parallel": lambda: tiny.vit(block_fn=ParallelScalingBlock),
    "mixing": lambda: tiny.vit(block_fn=Mixing),
}


def rows_with_a_graph(model: nn.Module, images: Tensor, first: int) -> Any:
    """How many rows of the output of block `first`'s MLP hand a gradient back to its input."""
    mlp = [module for name, module in model.named_modules() if name.endswith(".mlp")][first]
    seen: list[Tensor] = []
    with class_row_graph(model, first):
        handle = mlp.register_forward_pre_hook(lambda _m, i: seen.append(i[0].requires_grad_()), prepend=True)
        output = []
        after = mlp.register_forward_hook(lambda _m, _i, out: output.append(out))
        model(images)
        handle.remove(), after.remove()
    given = torch.autograd.grad(output[0].square().sum(), seen[0])[0]
    return int((given.abs().amax((0, 2)) > 0).sum()), given.shape[1]


@pytest.mark.parametrize("name", [*tiny.MODELS, *LEFT_ALONE])
def test_maps_stay(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = {**tiny.MODELS, **LEFT_ALONE}[name]().double()
    side = 42 if name == "patch 14" else 32
    images = tiny.photos(2, side, side, model).double()
    for start in range(3):
        found = getam(model, images, [[0, 2], [1]], start=start)
        with monkeypatch.context() as patch:
            patch.setattr(getam_module, "class_row_graph", lambda *_: nullcontext())
            wanted = getam(model, images, [[0, 2], [1]], start=start)
        torch.testing.assert_close(found.values, wanted.values)
        torch.testing.assert_close(found.scores, wanted.scores)
        assert wanted.values.sum() > 0


@pytest.mark.parametrize("name", ["plain", "distilled, 2 prefix tokens", "4 registers", "rotary", "hybrid"])
def test_the_mlp_hands_back_one_row(name: str) -> None:
    model = tiny.MODELS[name]()
    rows, tokens = rows_with_a_graph(model, tiny.photos(2, model=model), 1)
    assert rows == 1
    assert tokens > 16


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_blocks_that_may_mix_rows_are_left_alone(name: str) -> None:
    model = LEFT_ALONE[name]()
    hooks = [len(m._forward_hooks) for m in model.modules()]
    with class_row_graph(model, 1):
        assert [len(m._forward_hooks) for m in model.modules()] == hooks


def test_hooks_are_gone_after_an_exception() -> None:
    model = tiny.vit()
    with pytest.raises(RuntimeError, match="stop"), class_row_graph(model, 1):
        raise RuntimeError("stop")
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
