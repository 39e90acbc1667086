"""Leave out of the last block what a class token does not read; scores, maps and gradients stay what they are.

Where the score is read from a token, the other rows of the last block's projection and MLP reach nothing. Both work row
by row, so they are given the prefix rows only: 9 of the block's 12 matrix products, forward and backward.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from timm.models.beit import Beit
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from getam.threads import Hooks

READ_FROM_A_TOKEN = (
    VisionTransformer,
    Beit,
    Eva,
)  # timm's families that end in `x[:, 0]` when global_pool is "token"


@contextmanager
def token_rows_only(model: nn.Module) -> Iterator[None]:
    """Run the block with the last transformer block of `model` cut to its prefix tokens, where that changes nothing.

    Everywhere else (average- or attention-pooled models, networks that read patches, classes that are not timm's own)
    nothing happens. Beyond the prefix, the last block's output is not what it would be.
    """
    prefix = int(getattr(model, "num_prefix_tokens", 0))
    with Hooks() as hooks:
        for module in _row_by_row(model) if prefix else []:
            lengths: list[int] = []

            def cut(_module: nn.Module, inputs: Any, lengths: list[int] = lengths) -> Any:
                lengths.append(inputs[0].shape[1])
                return (inputs[0][:, :prefix], *inputs[1:])

            def restore(_m: nn.Module, _inputs: Any, output: Tensor, lengths: list[int] = lengths) -> Tensor:
                return F.pad(output, (0, 0, 0, lengths.pop() - prefix))

            hooks.before(module, cut)
            hooks.after(module, restore)
        yield


def _row_by_row(model: Any) -> list[nn.Module]:
    """The last block's projection and MLP, if the score of `model` is read from a prefix token; else nothing."""
    if not isinstance(model, READ_FROM_A_TOKEN) or not type(model).__module__.startswith("timm."):
        return []  # a subclass of somebody's may read what it likes
    if model.global_pool != "token" or getattr(model, "attn_pool", None) is not None:
        return []
    block = model.blocks[-1]
    project, mlp = getattr(getattr(block, "attn", None), "proj", None), getattr(block, "mlp", None)
    return [project, mlp] if isinstance(project, nn.Linear) and isinstance(mlp, nn.Module) else []
