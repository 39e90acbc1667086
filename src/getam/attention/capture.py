"""Read queries, keys, values and outputs of every attention of an unmodified model while it runs.

`F.scaled_dot_product_attention` is intercepted with a `torch.overrides.TorchFunctionMode` during the forward: there
q, k and v arrive finished (after RoPE, query/key norm, relative position bias as a mask), so no attention class needs
a special case, fused kernels stay on, and no N×N matrix is ever stored. What the maps need of the matrix, single rows
of it and of its class gradient, is computed afterwards from the captured tensors (`maps/getam.py`).

Two kinds of attention never reach that function: `nn.MultiheadAttention` is written out (`mha.py`), and what is
computed by hand is read where it passes its dropout: timm's `attn_drop` (CaiT's talking heads, ConViT, TNT, VOLO's
class attention), `F.dropout` in `transformers` models of the kind "eager".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from getam.attention import hugging_face
from getam.attention.calls import AttentionCall, Call, MatrixCall, Tap, global_calls, pools, token_calls
from getam.attention.geometry import Geometry, geometry
from getam.attention.mha import split_heads
from getam.errors import CaptureError
from getam.frozen import Constants, frozen
from getam.threads import Hooks, Switch, switched, uncompiled

__all__ = ["AttentionCall", "Call", "Geometry", "MatrixCall", "Tap", "attentions", "capture", "frozen", "geometry",
           "global_calls", "pools", "token_calls"]  # fmt: skip


class _Interceptor(Constants):
    """Records attention; thread-local, so `nn.DataParallel` replicas are not seen."""

    def __init__(self, tap: Tap, running: list[str], leaf_from: int | None, eager: set[str]) -> None:
        super().__init__()
        self.tap, self.running, self.leaf_from, self.eager = tap, running, leaf_from, eager

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = {name: self.constant(given) for name, given in kwargs.items()} if kwargs else {}
        args = [self.constant(given) for given in args]
        if func is F.multi_head_attention_forward and (heads := split_heads(args, kwargs)) is not None:
            output = self.__torch_function__(F.scaled_dot_product_attention, (), heads.inputs, heads.options)
            return heads.join(output), heads.weights
        output = func(*args, **kwargs)
        if func is F.dropout and self.running and self.running[-1] in self.eager:
            options = {"p": 0.5, "training": True} | dict(zip(("input", "p", "training"), args)) | kwargs
            return self.matrix(self.running[-1], options["p"] if options["training"] else 0.0, output)
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
        if self.leaf_from is not None and len(self.tap.calls) < self.leaf_from:
            # Never read: shapes are enough, and the memory goes to the blocks that are.
            query, key, value, kept = (t.new_empty(()).expand(t.shape) for t in (query, key, value, output))
            self.tap.calls.append(AttentionCall(name, query, key, value, kept, scale, None))
            return output
        output = self.leaf(output)
        self.tap.calls.append(AttentionCall(name, query, key, value, output, scale, mask))
        return output

    def leaf(self, output: Tensor) -> Tensor:
        """Where nothing below needs a gradient, the graph starts at this attention."""
        if self.leaf_from is None or len(self.tap.calls) < self.leaf_from or output.requires_grad:
            return output
        return output.detach().requires_grad_()

    def matrix(self, name: str, probability: float, matrix: Tensor) -> Tensor:
        """Record an attention matrix that was computed by hand and has just passed a dropout of that probability."""
        if matrix.ndim == 4:  # more are windows or neighbourhoods: no global row to read
            _refuse_dropout(name, probability)
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
    """Names and modules that attend: timm's (`fused_attn`, or `attn_drop` alone), `nn.MultiheadAttention` and those of
    `transformers`.
    """
    for name, module in model.named_modules():
        if (
            isinstance(module, nn.MultiheadAttention)
            or _uses_kernel(module)
            or _by_hand(module) is not None
            or hugging_face.attends(module)
        ):
            yield name, module


def _uses_kernel(module: nn.Module) -> bool:
    return isinstance(vars(module).get("fused_attn"), (bool, Switch))


def _by_hand(module: nn.Module) -> nn.Dropout | None:
    """The dropout that a matrix computed by hand passes through; None for modules that use the kernel."""
    dropout = module._modules.get("attn_drop")
    return dropout if isinstance(dropout, nn.Dropout) and not _uses_kernel(module) else None


@contextmanager
def capture(model: nn.Module, *, leaf_from: int | None = None, freeze: bool = False) -> Iterator[Tap]:
    """Record every attention of the forward pass run inside the block.

    Args:
        model: any module whose attentions go through `F.scaled_dot_product_attention`, `nn.MultiheadAttention`,
            timm's `attn_drop` or the eager attention of `transformers` (nearly all of timm, torchvision, OpenCLIP and
            `transformers`). Compiled models run uncompiled here.
        leaf_from: index of the first attention whose output becomes a leaf if it has no graph yet: with frozen
            parameters the graph then begins there, and everything below costs a plain forward (their calls keep shapes
            only).
        freeze: run the model as under `frozen`.

    Yields:
        a `Tap`, whose `calls` fill while the model runs. The model's flags and hooks are put back on exit, also
        after an exception; the tap keeps the graph alive only as long as you keep the tap.

    Raises:
        CaptureError: attention dropout is active, an attention is causal or grouped-query, or goes through a kernel
            that cannot be read (flash and flex attention of `transformers`).
    """
    tap, running = Tap(), list[str]()
    attending = list(attentions(model))
    theirs = [(name, module) for name, module in attending if hugging_face.attends(module)]
    eager = {name for name, module in theirs if hugging_face.by_hand(name, module)}
    watch = _Interceptor(tap, running, leaf_from, eager)

    def leave(*_: object) -> None:
        running.pop()

    kernels = [module for _, module in attending if _uses_kernel(module)]
    with Hooks() as hooks, switched(kernels, "fused_attn", True), uncompiled():
        for name, module in attending:
            if (dropout := _by_hand(module)) is not None:
                hooks.after(dropout, _matrix_hook(watch, name))
            hooks.before(module, lambda *_, name=name: running.append(name))
            hooks.after(module, leave, always_call=True)
        with frozen(model, watch) if freeze else watch:
            yield tap


def _matrix_hook(watch: _Interceptor, name: str) -> Callable[[Any, Any, Tensor], Tensor]:
    return lambda dropout, _inputs, matrix: watch.matrix(name, dropout.p if dropout.training else 0.0, matrix)
