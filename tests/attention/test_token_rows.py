"""Cutting the last block to the prefix rows: same scores, same maps, only where the score is read from a token."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import tiny
from getam.attention.token_rows import token_rows_only

CUT = {"plain", "odd depth", "distilled, 2 prefix tokens", "4 registers", "patch 14", "hybrid", "rotary",
       "relative position bias, token", "query and key norm"}  # fmt: skip


def rows_of_the_last_mlp(model: nn.Module, images: Tensor) -> tuple[int, Any]:
    """How many tokens the last MLP sees under `token_rows_only`, and what the model gives."""
    seen: list[int] = []
    last = [module for name, module in model.named_modules() if name.endswith("mlp")][-1]
    with token_rows_only(model), torch.no_grad():
        handle = last.get_submodule("fc1").register_forward_pre_hook(lambda _m, i: seen.append(i[0].shape[1]))
        found = model(images)
    handle.remove()
    return seen[0], found


@pytest.mark.parametrize("name", tiny.MODELS)
def test_scores_stay_and_tokens_are_left_out_where_only_a_token_is_read(name: str) -> None:
    model = tiny.MODELS[name]()
    side = 42 if name == "patch 14" else 32
    images = tiny.photos(2, side, side, model)
    with torch.no_grad():
        wanted = model(images)
    rows, found = rows_of_the_last_mlp(model, images)
    torch.testing.assert_close(found, wanted)
    if name in CUT:
        assert rows == model.num_prefix_tokens
    else:
        assert rows >= 9


def test_a_subclass_that_reads_patches_is_left_alone() -> None:
    class Own(VisionTransformer):
        def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
            return self.head(x[:, 1:].amax(1))

    model, images = tiny.vit(Own), tiny.photos(1)
    with torch.no_grad():
        wanted = model(images)
    rows, found = rows_of_the_last_mlp(model, images)
    assert rows == 17
    torch.testing.assert_close(found, wanted)


def test_hooks_are_gone_after_an_exception() -> None:
    model = tiny.vit()
    with pytest.raises(RuntimeError, match="stop"), token_rows_only(model):
        raise RuntimeError("stop")
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
