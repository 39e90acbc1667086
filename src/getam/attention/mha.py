"""`nn.MultiheadAttention` written out, so that torchvision's and OpenCLIP's vision transformers can be captured.

`F.multi_head_attention_forward` calls the attention kernel inside itself, out of sight of an interception. Split into
heads, kernel and output projection it is the same arithmetic, with the kernel in sight.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

SIGNATURE = inspect.signature(F.multi_head_attention_forward)
UNSUPPORTED = ("bias_k", "bias_v", "add_zero_attn", "key_padding_mask", "attn_mask", "is_causal", "static_k",
               "static_v")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Heads:
    """Query, key and value of one multi-head attention, (B,H,tokens,d) each, and what follows the kernel.

    `weights` is the matrix that the caller wants beside the output, None where it does not.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    dropout: float
    weight: Tensor
    bias: Tensor | None
    weights: Tensor | None

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """What the kernel takes."""
        return self.query, self.key, self.value

    @property
    def options(self) -> dict[str, Any]:
        """The kernel's options."""
        return {"dropout_p": self.dropout}

    def join(self, output: Tensor) -> Tensor:
        """(B,H,M,d) of the kernel → (M,B,D), projected, as `F.multi_head_attention_forward` returns it."""
        return F.linear(output.permute(2, 0, 1, 3).flatten(2), self.weight, self.bias)


def split_heads(args: Sequence[Any], kwargs: dict[str, Any]) -> Heads | None:
    """The heads of a call of `F.multi_head_attention_forward`; None where it asks for more than plain attention.

    Masks, padding and unbatched input are left to torch, and then not captured; so are returned weights, unless there
    is one query: a pooling head (SigLIP's in `transformers`) asks for them and does not look.
    """
    call = SIGNATURE.bind(*args, **kwargs)
    call.apply_defaults()
    given = call.arguments
    query, key, value = given["query"], given["key"], given["value"]
    asked = given["need_weights"]
    if (
        query.ndim != 3
        or (asked and len(query) > 1)
        or any(given[name] is not None and given[name] is not False for name in UNSUPPORTED)
    ):
        return None
    if given["use_separate_proj_weight"]:
        weights = given["q_proj_weight"], given["k_proj_weight"], given["v_proj_weight"]
    else:
        weights = given["in_proj_weight"].chunk(3)
    bias = given["in_proj_bias"]
    biases = (None,) * 3 if bias is None else bias.chunk(3)
    query, key, value = (
        F.linear(tokens, weight, bias).unflatten(-1, (given["num_heads"], -1)).permute(1, 2, 0, 3)
        for tokens, weight, bias in zip((query, key, value), weights, biases)
    )
    dropout = given["dropout_p"] if given["training"] else 0.0
    matrix = attention_weights(query, key, average=given["average_attn_weights"]) if asked else None
    return Heads(query, key, value, dropout, given["out_proj_weight"], given["out_proj_bias"], matrix)


def attention_weights(query: Tensor, key: Tensor, *, average: bool) -> Tensor:
    """softmax(Q Kᵀ / √d), as `nn.MultiheadAttention` returns it beside its output: (B,H,M,N), or (B,M,N) averaged."""
    matrix = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(-1)
    return matrix.mean(1) if average else matrix
