"""Read queries, keys, values and outputs of every attention of an unmodified model while it runs.

`F.scaled_dot_product_attention` is intercepted with a `torch.overrides.TorchFunctionMode` during the forward: there
q, k and v arrive finished (after RoPE, query/key norm, relative position bias as a mask), so no attention class needs
a special case, fused kernels stay on, and no N×N matrix is ever stored. What the maps need of the matrix, single rows
of it and of its class gradient, is computed afterwards from the captured tensors (`maps/getam.py`).

Two kinds of attention never reach that function: `nn.MultiheadAttention` is written out (`mha.py`), and what timm
computes by hand (CaiT's talking heads, ConViT, TNT, VOLO's class attention) is read where it passes `attn_drop`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from getam.errors import CaptureError
from getam.geometry import Geometry, geometry
from getam.mha import split_heads

__all__ = ["AttentionCall", "Call", "Geometry", "MatrixCall", "Tap", "attentions", "capture", "frozen", "geometry",
           "global_calls", "token_calls"]  # fmt: skip


def wide(tensor: Tensor) -> Tensor:
    """At least float32: products of maps are never taken in half precision, and float64 stays."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


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

    @property
    def queries(self) -> int:
        """Number of query tokens M."""
        return self.query.shape[-2]

    def attention(self, rows: slice) -> Tensor:
        """A[r,:] = softmax(scale · q_r Kᵀ + bias) of the query rows: (B,H,R,N), at least float32."""
        logits = self.scale * (wide(self.query[:, :, rows]) @ wide(self.key).transpose(-2, -1))
        if self.bias is not None:
            logits = logits + wide(self.bias).expand(*self.query.shape[:-1], self.tokens)[:, :, rows]
        return logits.softmax(-1)

    def gradient(self, of_output: Tensor, rows: slice) -> Tensor:
        """G[r,:] = (∂s/∂o_r) Vᵀ, the gradient of the attention, from that of `output`: (B,H,R,N)."""
        return wide(of_output[:, :, rows]) @ wide(self.value).transpose(-2, -1)


@dataclass(frozen=True, eq=False)
class MatrixCall:
    """An attention that a model computes by hand: `output` (B,H,M,N) is the matrix itself, in the graph."""

    name: str
    output: Tensor

    @property
    def tokens(self) -> int:
        """Number of key tokens N."""
        return self.output.shape[-1]

    @property
    def queries(self) -> int:
        """Number of query tokens M."""
        return self.output.shape[-2]

    def attention(self, rows: slice) -> Tensor:
        """A[r,:] of the query rows: (B,H,R,N), at least float32."""
        return wide(self.output[:, :, rows])

    def gradient(self, of_output: Tensor, rows: slice) -> Tensor:
        """G[r,:]: here the gradient of `output` is that of the attention."""
        return wide(of_output[:, :, rows])


Call = AttentionCall | MatrixCall


@dataclass(eq=False)
class Tap:
    """What `capture` collected: one call per attention, in the order they ran."""

    calls: list[Call] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Dotted module names of the captured attentions."""
        return [call.name for call in self.calls]


class _Interceptor(TorchFunctionMode):
    """Records attention; thread-local, so `nn.DataParallel` replicas are not seen."""

    def __init__(self, tap: Tap, running: list[str], leaf_from: int | None) -> None:
        super().__init__()
        self.tap, self.running, self.leaf_from = tap, running, leaf_from

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.multi_head_attention_forward and (heads := split_heads(args, kwargs)) is not None:
            output = self.__torch_function__(F.scaled_dot_product_attention, (), heads.inputs, heads.options)
            return heads.join(output), None
        output = func(*args, **kwargs)
        if func is not F.scaled_dot_product_attention:
            return output
        options = dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal"), args)) | kwargs
        query, key, value = options["query"], options["key"], options["value"]
        name = self.running[-1] if self.running else f"attention {len(self.tap.calls)}"
        if query.ndim != 4:
            return output  # windowed attention (5-D): no global row to read
        _refuse_dropout(name, options.get("dropout_p", 0.0))
        if options.get("is_causal") or options.get("enable_gqa"):
            raise CaptureError(
                f"{name} uses causal or grouped-query attention: no map is defined for it here"
            )
        mask = options.get("attn_mask")
        if mask is not None and mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, float("-inf"))
        scale = options.get("scale") or query.shape[-1] ** -0.5
        output = self.leaf(output)
        self.tap.calls.append(AttentionCall(name, query, key, value, output, scale, mask))
        return output

    def leaf(self, output: Tensor) -> Tensor:
        """Where nothing below needs a gradient, the graph starts at this attention."""
        if self.leaf_from is None or len(self.tap.calls) < self.leaf_from or output.requires_grad:
            return output
        return output.detach().requires_grad_()

    def matrix(self, name: str, dropout: nn.Dropout, matrix: Tensor) -> Tensor:
        """Record an attention matrix that was computed by hand and has just passed its dropout."""
        if matrix.ndim == 4:  # more are windows or neighbourhoods: no global row to read
            _refuse_dropout(name, dropout.p if dropout.training else 0.0)
            matrix = self.leaf(matrix)
            self.tap.calls.append(MatrixCall(name, matrix))
        return matrix


def _refuse_dropout(name: str, probability: float) -> None:
    if probability:
        raise CaptureError(
            f"attention dropout is active in {name} (p={probability}): the maps would be random; "
            "call model.eval() or build the model with attn_drop=0"
        )


def attentions(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Names and modules whose attention goes through a kernel: timm's (`fused_attn`) and `nn.MultiheadAttention`."""
    for name, module in model.named_modules():
        if isinstance(vars(module).get("fused_attn"), bool) or isinstance(module, nn.MultiheadAttention):
            yield name, module


@contextmanager
def capture(model: nn.Module, *, leaf_from: int | None = None) -> Iterator[Tap]:
    """Record every attention of the forward pass run inside the block.

    Args:
        model: any module whose attentions go through `F.scaled_dot_product_attention`, `nn.MultiheadAttention` or
            timm's `attn_drop` (nearly all of timm, torchvision and OpenCLIP). Compiled models run uncompiled here.
        leaf_from: index of the first attention whose output becomes a leaf if it has no graph yet: with frozen
            parameters the graph then begins there, and everything below costs a plain forward.

    Yields:
        a `Tap`, whose `calls` fill while the model runs. The model's flags and hooks are put back on exit, also
        after an exception; the tap keeps the graph alive only as long as you keep the tap.

    Raises:
        CaptureError: attention dropout is active, or an attention is causal or grouped-query.
    """
    tap, running = Tap(), list[str]()
    watch = _Interceptor(tap, running, leaf_from)
    fused: list[tuple[Any, bool]] = []
    hooks = []
    known = set()
    for name, module in attentions(model):
        known.add(module)
        if isinstance(flag := vars(module).get("fused_attn"), bool):
            fused.append((module, flag))
            module.fused_attn = True  # type: ignore[assignment]
        hooks.append(module.register_forward_pre_hook(lambda *_, name=name: running.append(name)))
        hooks.append(module.register_forward_hook(lambda *_: running.__delitem__(-1), always_call=True))
    for name, module in model.named_modules():
        if module not in known and isinstance(dropout := getattr(module, "attn_drop", None), nn.Dropout):
            hooks.append(dropout.register_forward_hook(_matrix_hook(watch, name)))
    try:
        with _uncompiled(), watch:
            yield tap
    finally:
        for module, flag in fused:
            module.fused_attn = flag
        for hook in hooks:
            hook.remove()


def _matrix_hook(watch: _Interceptor, name: str) -> Callable[[Any, Any, Tensor], Tensor]:
    return lambda dropout, _inputs, matrix: watch.matrix(name, dropout, matrix)


def _uncompiled() -> AbstractContextManager[object]:
    """Let compiled models run eagerly: a compiled graph has no function calls left to intercept."""
    dynamo: Any = sys.modules.get("torch._dynamo")  # where it was never imported nothing is compiled
    return dynamo.set_stance("force_eager") if hasattr(dynamo, "set_stance") else nullcontext()


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Run the block with parameters detached, batch norms frozen and no checkpoints, then restore each flag.

    A batch norm in train mode would update its statistics, and let the photos of a batch change each other's maps.
    Activation checkpoints would run the blocks again in the backward, after all flags are put back.
    """
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    switched: list[tuple[nn.Module, str]] = [
        (module, flag)
        for module in model.modules()
        for flag in ("training", "grad_checkpointing")
        if vars(module).get(flag) is True and (flag != "training" or isinstance(module, _BatchNorm))
    ]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        for module, flag in switched:
            setattr(module, flag, False)
        yield
    finally:
        for parameter, required in flags:
            parameter.requires_grad_(required)
        for module, flag in switched:
            setattr(module, flag, True)


def global_calls(tap: Tap, place: Geometry) -> list[Call]:
    """The self-attentions over all tokens of the patch grid, in order; a conv stem may have its own before.

    Raises:
        CaptureError: there are none, later ones see other tokens (windows, shrinking grids), or a module ran twice.
    """
    _refuse_repeats(tap)
    calls = [c for c in tap.calls if c.queries == c.tokens]
    while calls and calls[0].tokens != place.tokens:
        calls = calls[1:]
    if not calls or any(c.tokens != place.tokens for c in calls):
        raise _no_global_row(tap, place)
    return calls


def token_calls(tap: Tap, place: Geometry, start: int) -> list[Call]:
    """Those of the attentions ≥ `start` that have the row of the class token over the patch grid, in order.

    In a plain ViT that is every one. Class-attention models (CaiT) let the token in at their end, pooling ones (PiT)
    reach the grid of the map at theirs; attentions before that have no such row, and nothing to add to the sum.

    Raises:
        CaptureError: the last attention has no such row, patches are mixed by channel attention, or a module ran
            twice.
    """
    _refuse_repeats(tap)
    patches = place.grid[0] * place.grid[1]
    last = tap.calls[-1] if tap.calls else None
    if last is None or not _has_token_row(last, place, last):
        raise _no_global_row(tap, place)
    for call in tap.calls:
        if isinstance(call, AttentionCall) and call.tokens < patches == call.value.shape[-1]:
            raise CaptureError(
                f"{call.name} attends over channels, not over patches (XCiT): its blocks have no row to read"
            )
    return [call for call in tap.calls[start:] if _has_token_row(call, place, last)]


def _has_token_row(call: Call, place: Geometry, last: Call) -> bool:
    return (
        call.tokens == place.tokens
        and call.queries in (1, call.tokens)
        and call.output.shape[0] == last.output.shape[0]  # TNT attends inside patches too: a batch of patches
    )


def _refuse_repeats(tap: Tap) -> None:
    names = tap.names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise CaptureError(
            f"{twice} attended more than once in one forward: differential attention subtracts two matrices, and no "
            "map is defined for that here (run one forward per capture)"
        )


def _no_global_row(tap: Tap, place: Geometry) -> CaptureError:
    seen = sorted({c.tokens for c in tap.calls})
    return CaptureError(
        f"captured {len(tap.calls)} attentions over {seen or 'no'} tokens, but the model's patch grid says "
        f"{place.prefix} prefix + {place.grid[0]}×{place.grid[1]} patches = {place.tokens} tokens: GETAM needs global "
        "attention in every block"
    )
