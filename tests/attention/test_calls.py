"""What captured attentions hold, by hand, and which of a forward's calls are read."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from getam.attention.calls import AttentionCall, MatrixCall, Tap, global_calls, pools, token_calls, wide
from getam.attention.geometry import Geometry
from getam.errors import CaptureError


def call(
    name: str, queries: int, tokens: int | None = None, *, batch: int = 2, width: int = 3, heads: int = 2
) -> AttentionCall:
    """An attention of random numbers."""
    tokens = queries if tokens is None else tokens
    query, key, value = (torch.randn(batch, heads, n, width) for n in (queries, tokens, tokens))
    return AttentionCall(name, query, key, value, torch.randn(batch, heads, queries, width), 0.5, None)


def names(calls: list[Any]) -> list[str]:
    return [found.name for found in calls]


def test_products_of_maps_are_wide() -> None:
    assert wide(torch.ones(1, dtype=torch.bfloat16)).dtype == torch.float32
    assert wide(torch.ones(1, dtype=torch.float16)).dtype == torch.float32
    assert wide(torch.ones(1)).dtype == torch.float32
    assert wide(torch.ones(1, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("shape", [(2, 2, 4, 5), (1, 2, 1, 5), (4, 5), (5,)])
def test_rows_of_an_attention_with_a_bias(shape: tuple[int, ...]) -> None:
    made, bias = call("a", 4, 5), torch.randn(shape)
    found = AttentionCall("a", made.query, made.key, made.value, made.output, 0.3, bias)
    assert (found.queries, found.tokens) == (4, 5)
    everywhere = bias.expand(2, 2, 4, 5)
    of_output = torch.randn(2, 2, 4, 3)
    for b in range(2):
        for h in range(2):
            for r in range(4):
                q = made.query[b, h, r]
                logits = torch.stack([0.3 * q @ k for k in made.key[b, h]]) + everywhere[b, h, r]
                row = found.attention(slice(r, r + 1))[b, h, 0]
                torch.testing.assert_close(row, logits.exp() / logits.exp().sum())
                gradient = torch.stack([of_output[b, h, r] @ v for v in made.value[b, h]])
                torch.testing.assert_close(found.gradient(of_output, slice(r, r + 1))[b, h, 0], gradient)


def test_a_matrix_made_by_hand_is_its_own_attention() -> None:
    matrix = torch.rand(2, 3, 4, 5).bfloat16()
    made = MatrixCall("a", matrix)
    assert (made.queries, made.tokens) == (4, 5)
    assert torch.equal(made.attention(slice(1, 3)), matrix[:, :, 1:3].float())
    assert torch.equal(made.gradient(matrix, slice(2, 4)), matrix[:, :, 2:4].float())


def test_pooling_attentions_are_no_blocks() -> None:
    assert pools("attn_pool")
    assert pools("visual.attn_pool.attn")
    assert not pools("blocks.0.attn")
    assert not pools("attn_pooled.attn")
    tap = Tap([call("blocks.0.attn", 4), call("attn_pool", 1, 4)])
    assert tap.names == ["blocks.0.attn", "attn_pool"]
    assert names(tap.blocks) == ["blocks.0.attn"]


PLACE = Geometry(1, (2, 3), "cls")


def test_global_calls_leave_out_a_stem_and_a_pooling_query() -> None:
    tap = Tap([call("stem", 24), call("a", 7), call("b", 7), call("pool", 1, 7)])
    assert names(global_calls(tap, PLACE)) == ["a", "b"]
    for calls in ([], [call("a", 24)], [call("a", 7), call("b", 4)], [call("a", 6), call("b", 7)]):
        with pytest.raises(CaptureError, match=r"1 prefix \+ 2×3 patches = 7 tokens"):
            global_calls(Tap(list(calls)), PLACE)
    with pytest.raises(CaptureError, match=r"captured 2 attentions over \[4, 7\] tokens"):
        global_calls(Tap([call("a", 7), call("b", 4)]), PLACE)
    with pytest.raises(CaptureError, match="captured 0 attentions over no tokens"):
        global_calls(Tap(), PLACE)
    with pytest.raises(CaptureError, match="a attended more than once"):
        global_calls(Tap([call("b", 7), call("a", 7), call("a", 7)]), PLACE)


def test_token_calls_are_those_with_the_tokens_row() -> None:
    inside = call("inside", 7, batch=12)  # TNT: a batch of patches, by chance of as many tokens
    tap = Tap([call("early", 6), inside, call("a", 7), call("wrong", 3, 7), call("b", 1, 7)])
    assert names(token_calls(tap, PLACE, 0)) == ["a", "b"]
    assert names(token_calls(tap, PLACE, 2)) == ["a", "b"]
    assert names(token_calls(tap, PLACE, 3)) == ["b"]
    pooled = Tap([call("a", 7), call("b", 7), call("attn_pool", 1, 6)])
    assert names(token_calls(pooled, PLACE, 1)) == ["b"]
    for calls in ([], [call("a", 7), call("b", 6)], [call("a", 7), call("b", 3, 7)]):
        with pytest.raises(CaptureError, match="needs global attention in every block; --method gradcam"):
            token_calls(Tap(list(calls)), PLACE, 0)
    with pytest.raises(CaptureError, match="a attended more than once"):
        token_calls(Tap([call("a", 7), call("a", 7)]), PLACE, 0)


def test_channel_attention_has_no_row() -> None:
    """XCiT attends over a head's channels: fewer than patches, and its values are as long as the patches are many."""
    grid = Geometry(1, (2, 4), "cls")
    channels = call("blocks.0.attn", 4, width=8)
    tap = Tap([channels, call("cls", 9)])
    with pytest.raises(CaptureError, match=r"blocks\.0\.attn attends over channels"):
        token_calls(tap, grid, 0)
    for other in (call("wide", 8, width=8), call("narrow", 4, width=6), call("many", 10, width=8)):
        assert names(token_calls(Tap([other, call("cls", 9)]), grid, 0)) == ["cls"]
    matrix: Tensor = torch.rand(2, 2, 4, 4)
    assert names(token_calls(Tap([MatrixCall("by hand", matrix), call("cls", 9)]), grid, 0)) == ["cls"]
