"""Leave out of the backward what does not reach the class token's row of the first block that counts.

Of that block's attention only ∂s/∂o of the class token is read, and nothing below it. Projection and MLP work row by
row, so their other rows need no graph; nor do those rows as inputs of the next block's queries, keys and values. Every
backward is spared a block's 12 matrix products, and the graph an MLP's activations.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from timm.layers import GluMlp, Mlp, SwiGLU
from timm.models import beit, eva, vision_transformer
from torch import Tensor, nn

from getam.attention.capture import attentions
from getam.threads import Hooks

BLOCKS = (
    vision_transformer.Block,
    vision_transformer.ResPostBlock,
    beit.Block,
    eva.EvaBlock,
    eva.EvaBlockPostNorm,
)
"""timm's blocks that mix tokens in their attention alone."""
ROW_BY_ROW = (Mlp, GluMlp, SwiGLU)


@contextmanager
def class_row_graph(model: nn.Module, first: int) -> Iterator[None]:
    """Run the forward inside with the graph of block `first` cut down to the class token, where that changes nothing.

    Elsewhere (blocks that are not timm's own, or not all of the model's attentions) nothing happens. Gradients of what
    comes before the attention of block `first`, and of rows of its output other than the first, are not to be taken.
    """
    with Hooks() as hooks:
        for module in _cut_at(model, first):
            given: list[Tensor] = []

            def detach(_module: nn.Module, inputs: Any, given: list[Tensor] = given) -> Any:
                given.append(inputs[0])
                return (inputs[0].detach(), *inputs[1:])

            def join(module: nn.Module, _inputs: Any, output: Tensor, given: list[Tensor] = given) -> Tensor:
                return torch.cat((module.forward(given.pop()[:, :1]), output[:, 1:]), 1)

            hooks.before(module, detach)
            hooks.after(module, join)
        yield


def _cut_at(model: nn.Module, first: int) -> list[nn.Module]:
    """Projection and MLP of block `first`, and the joint projection of the next one where that is a module."""
    names = [name for name, _ in attentions(model)]
    stem = names[0].removesuffix("0.attn") if names else ""
    if names != [f"{stem}{i}.attn" for i in range(len(names))] or not 0 <= first < len(names):
        return []  # the order in which the attentions run is known only where they are blocks of one list
    blocks = [model.get_submodule(f"{stem}{i}") for i in range(first, min(first + 2, len(names)))]
    if any(type(block) not in BLOCKS for block in blocks):
        return []
    block: Any = blocks[0]
    project, mlp = block.attn.proj, block.mlp
    if (
        not isinstance(project, nn.Linear)
        or not isinstance(mlp, ROW_BY_ROW)
        or getattr(mlp, "use_conv", False)
    ):
        return []
    following: list[Any] = [getattr(other.get_submodule("attn"), "qkv", None) for other in blocks[1:]]
    return [project, mlp, *(qkv for qkv in following if isinstance(qkv, nn.Linear))]
