"""Read queries, keys, values and outputs of every attention of an unmodified timm model while it runs.

`F.scaled_dot_product_attention` is intercepted with a `torch.overrides.TorchFunctionMode` during the forward: there
q, k and v arrive finished (after RoPE, query/key norm, relative position bias as a mask), so no attention class needs
a special case, fused kernels stay on, and no N×N matrix is ever stored. What the maps need of the matrix, single rows
of it and of its class gradient, is computed afterwards from the captured tensors (`maps/getam.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from getam.errors import CaptureError


@dataclass(frozen=True, eq=False)
class AttentionCall:
    """One attention of the forward pass, in the graph.

    query (B,H,M,d), key (B,H,N,d), value (B,H,N,d) and output (B,H,M,d) as the kernel saw them; `bias` is what it
    added to the logits (broadcastable to (B,H,M,N)) or None; `name` is the module's dotted name.
    """

    name: str
    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor
    scale: float
    bias: Tensor | None

    @property
    def tokens(self) -> int:
        """Number of key tokens N."""
        return self.key.shape[-2]


@dataclass(eq=False)
class Tap:
    """What `capture` collected: one `AttentionCall` per attention, in the order they ran."""

    calls: list[AttentionCall] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Dotted module names of the captured attentions."""
        return [call.name for call in self.calls]


class _Interceptor(TorchFunctionMode):
    """Records scaled-dot-product attention; thread-local, so `nn.DataParallel` replicas are not seen."""

    def __init__(self, tap: Tap, running: list[str], leaf_from: int | None) -> None:
        super().__init__()
        self.tap, self.running, self.leaf_from = tap, running, leaf_from

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func is not F.scaled_dot_product_attention:
            return output
        options = dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal"), args)) | kwargs
        query, key, value = options["query"], options["key"], options["value"]
        name = self.running[-1] if self.running else "attention"
        if query.ndim != 4:
            return output  # windowed attention (5-D): no global row to read
        if options.get("dropout_p", 0.0):
            raise CaptureError(
                f"attention dropout is active in {name} (p={options['dropout_p']}): the maps would be random; "
                "call model.eval() or build the model with attn_drop=0"
            )
        if options.get("is_causal") or options.get("enable_gqa"):
            raise CaptureError(
                f"{name} uses causal or grouped-query attention: no map is defined for it here"
            )
        if self.leaf_from is not None and len(self.tap.calls) >= self.leaf_from and not output.requires_grad:
            # Nothing below needs a gradient: the graph starts at this attention.
            output = output.detach().requires_grad_()
        mask = options.get("attn_mask")
        if mask is not None and mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, float("-inf"))
        scale = options.get("scale") or query.shape[-1] ** -0.5
        self.tap.calls.append(AttentionCall(name, query, key, value, output, scale, mask))
        return output


@contextmanager
def capture(model: nn.Module, *, leaf_from: int | None = None) -> Iterator[Tap]:
    """Record every attention of the forward passes run inside the block.

    Args:
        model: any module whose attentions go through `F.scaled_dot_product_attention` (most of timm).
        leaf_from: index of the first attention whose output becomes a leaf if it has no graph yet: with frozen
            parameters the graph then begins there, and everything below costs a plain forward.

    Yields:
        a `Tap`, whose `calls` fill while the model runs. The model's flags and hooks are put back on exit, also
        after an exception; the tap keeps the graph alive only as long as you keep the tap.

    Raises:
        CaptureError: attention dropout is active, or an attention is causal or grouped-query.
    """
    tap, running = Tap(), list[str]()
    fused: list[tuple[Any, bool]] = []
    hooks = []
    for name, module in model.named_modules():
        if isinstance(flag := getattr(module, "fused_attn", None), bool):
            fused.append((module, flag))
            module.fused_attn = True
            hooks.append(module.register_forward_pre_hook(lambda *_, name=name: running.append(name)))
            hooks.append(module.register_forward_hook(lambda *_: running.pop() and None, always_call=True))
    try:
        with _Interceptor(tap, running, leaf_from):
            yield tap
    finally:
        for module, flag in fused:
            module.fused_attn = flag
        for hook in hooks:
            hook.remove()


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Run the block with the parameters of `model` detached from autograd, then restore each flag."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


@dataclass(frozen=True)
class Geometry:
    """Where the patches of a model's attentions lie.

    `prefix` tokens (CLS, distillation, registers) come first, then `grid` = (h, w) patches row by row; `rows` says
    which query rows read the class score: "cls" (from a token), "patches" (average-pooled), "pool" (pooling
    attention). `start` is the first block that counts in the maps by default; None: half of them.
    """

    prefix: int
    grid: tuple[int, int]
    rows: str
    start: int | None = None


def geometry(model: nn.Module, height: int, width: int) -> Geometry:
    """Derive the token geometry of `model` for photos of `height` × `width` pixels.

    A network of ours answers through its own `geometry` method; a timm model through `num_prefix_tokens`,
    `patch_embed.dynamic_feat_size` and `global_pool`.

    Raises:
        CaptureError: the model does not say where its patches are.
    """
    if callable(own := getattr(model, "geometry", None)):
        return own(height, width)
    embed = getattr(model, "patch_embed", None)
    if embed is None or not hasattr(embed, "dynamic_feat_size"):
        raise CaptureError(
            f"{type(model).__name__} has no patch_embed with a known grid: GETAM reads global attention over one "
            "patch grid (windowed, multi-scale and channel-attention models have none)"
        )
    pool = str(getattr(model, "global_pool", "") or "")
    prefix = int(getattr(model, "num_prefix_tokens", 0))
    if pool == "map":
        rows = "pool"
    elif pool == "token" and prefix > 0:
        rows = "cls"
    else:
        rows = "patches"
    if getattr(embed, "dynamic_img_pad", False) or getattr(model, "dynamic_img_size", False):
        grid = embed.dynamic_feat_size((height, width))
    else:
        grid = getattr(embed, "grid_size", None) or embed.dynamic_feat_size((height, width))
    return Geometry(prefix, (int(grid[0]), int(grid[1])), rows)
