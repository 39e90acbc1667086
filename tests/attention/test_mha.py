"""`nn.MultiheadAttention` with its kernel in sight: torch's own output, and heads that give torch's weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from getam.attention.calls import AttentionCall
from getam.attention.capture import capture, frozen
from getam.attention.mha import split_heads
from getam.errors import CaptureError


def attention(**options: Any) -> nn.MultiheadAttention:
    """4 heads of 3 numbers, awake, in eval mode."""
    module = nn.MultiheadAttention(12, 4, **{"batch_first": True, **options}).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.5)
    return module


def tokens(count: int, width: int = 12, batch: int = 2) -> Tensor:
    return torch.randn(batch, count, width)


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"kdim": 5, "vdim": 7}])
@pytest.mark.parametrize("batch_first", [True, False])
def test_output_and_weights_are_torchs(options: dict[str, Any], batch_first: bool) -> None:
    module = attention(batch_first=batch_first, **options)
    given = tokens(3), tokens(6, options.get("kdim", 12)), tokens(6, options.get("vdim", 12))
    if not batch_first:
        given = tuple(t.transpose(0, 1) for t in given)  # type: ignore[assignment]
    wanted, weights = module(*given, average_attn_weights=False)
    with capture(module) as tap:
        found, none = module(*given, need_weights=False)
    assert none is None
    torch.testing.assert_close(found, wanted)
    (call,) = tap.calls
    assert isinstance(call, AttentionCall)
    assert (call.queries, call.tokens) == (3, 6)
    assert call.query.shape == (2, 4, 3, 3)
    torch.testing.assert_close(call.attention(slice(None)), weights)
    torch.testing.assert_close(call.attention(slice(1, 2)), weights[:, :, 1:2])
    torch.testing.assert_close(weights @ call.value, call.output)


def test_gradients_reach_the_attention() -> None:
    module, given = attention(), tokens(5)
    with frozen(module), capture(module, leaf_from=0) as tap:
        output, _ = module(given, given, given, need_weights=False)
    (call,) = tap.calls
    (of_output,) = torch.autograd.grad(output.square().sum(), call.output)
    found = call.gradient(of_output, slice(None))
    matrix = call.attention(slice(None)).requires_grad_()
    joined = (matrix @ call.value).transpose(1, 2).flatten(2)
    again = joined @ module.out_proj.weight.T + module.out_proj.bias
    torch.testing.assert_close(again, output)
    torch.testing.assert_close(found, torch.autograd.grad(again.square().sum(), matrix)[0])


def test_more_than_plain_attention_is_left_to_torch_and_not_captured() -> None:
    module, given = attention(), tokens(4)
    padding = torch.zeros(2, 4, dtype=torch.bool)
    padding[:, 3] = True
    for options in (
        {"need_weights": True},
        {"need_weights": False, "attn_mask": torch.zeros(4, 4)},
        {"need_weights": False, "key_padding_mask": padding},
    ):
        wanted, _ = module(given, given, given, **options)
        with capture(module) as tap:
            found, _ = module(given, given, given, **options)
        torch.testing.assert_close(found, wanted)
        assert not tap.calls
    for more in ({"add_bias_kv": True}, {"add_zero_attn": True}):
        module = attention(**more)
        with capture(module) as tap:
            module(given, given, given, need_weights=False)
        assert not tap.calls
    with capture(module := attention()) as tap:
        module(given[0], given[0], given[0], need_weights=False)  # one photo without a batch
    assert not tap.calls


def test_dropout_counts_in_training_only() -> None:
    module, given = attention(dropout=0.5), tokens(4)
    with capture(module) as tap:
        module(given, given, given, need_weights=False)
    assert len(tap.calls) == 1
    with pytest.raises(CaptureError, match=r"p=0\.5"), capture(module.train()):
        module(given, given, given, need_weights=False)


def test_what_a_call_leaves_out_has_torchs_defaults() -> None:
    module = attention()
    query, key = tokens(3).transpose(0, 1), tokens(6).transpose(0, 1)
    weights = (module.in_proj_weight, module.in_proj_bias, None, None, False, 0.0)
    given = (query, key, key, 12, 4, *weights, module.out_proj.weight, module.out_proj.bias)
    heads = split_heads(given, {"need_weights": False})
    assert heads is not None
    found = heads.join(F.scaled_dot_product_attention(*heads.inputs))
    torch.testing.assert_close(found, F.multi_head_attention_forward(*given, need_weights=False)[0])
    assert split_heads(given, {}) is None  # weights are asked for


@pytest.mark.parametrize("average", [True, False])
def test_one_query_may_ask_for_the_weights(average: bool) -> None:
    module, query, key = attention(batch_first=True), tokens(1), tokens(6)
    wanted, weights = module(query, key, key, average_attn_weights=average)
    with capture(module) as tap:
        found, ours = module(query, key, key, average_attn_weights=average)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(ours, weights)
    assert len(tap.calls) == 1
