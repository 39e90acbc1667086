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
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from getam.errors import CaptureError, InputError


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
    """Run the block with parameters detached from autograd and batch norms frozen, then restore each flag.

    A batch norm in train mode would update its statistics, and let the photos of a batch change each other's maps.
    """
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        for norm in norms:
            norm.training = False
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        for norm in norms:
            norm.training = True


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
        InputError: the model takes photos of another size, or multiples of its patch only.
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
    grid = embed.dynamic_feat_size((height, width))
    if getattr(embed, "dynamic_img_pad", False):
        return Geometry(prefix, (int(grid[0]), int(grid[1])), rows)
    if getattr(embed, "strict_img_size", False) and (fixed := getattr(embed, "img_size", None)):
        if (height, width) != tuple(fixed):
            raise InputError(
                f"photos are {height}×{width} but the model takes {fixed[0]}×{fixed[1]} (height×width): resize, or "
                "build the model with dynamic_img_size=True"
            )
    else:
        down, across = embed.feat_ratio(as_scalar=False)
        if height % down or width % across:
            raise InputError(
                f"photos are {height}×{width} but the model's patches are {down}×{across} (height×width): resize to "
                "multiples of the patch"
            )
    return Geometry(prefix, (int(grid[0]), int(grid[1])), rows)


def global_calls(tap: Tap, place: Geometry) -> list[AttentionCall]:
    """The self-attentions over all tokens of the patch grid, in order; a conv stem may have its own before.

    Raises:
        CaptureError: there are none, or later ones see other tokens (windows, shrinking grids): no global row to read.
    """
    tokens = place.prefix + place.grid[0] * place.grid[1]
    calls = [c for c in tap.calls if c.query.shape[-2] == c.tokens]
    while calls and calls[0].tokens != tokens:
        calls = calls[1:]
    if not calls or any(c.tokens != tokens for c in calls):
        seen = sorted({c.tokens for c in tap.calls})
        raise CaptureError(
            f"captured {len(tap.calls)} attentions over {seen or 'no'} tokens, but the model's patch grid says "
            f"{place.prefix} prefix + {place.grid[0]}×{place.grid[1]} patches = {tokens} tokens: GETAM needs global "
            "attention in every block"
        )
    return calls
