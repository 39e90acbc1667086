"""What a captured attention holds, and which of a forward's attentions have the row that is read."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from getam.attention.geometry import Geometry
from getam.errors import CaptureError


def wide(tensor: Tensor) -> Tensor:
    """At least float32: products of maps are never taken in half precision, and float64 stays."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def products(rows: Tensor, columns: Tensor) -> Tensor:
    """Inner products (…,R,N) of (…,R,d) and (…,N,d), at least float32, under autocast too."""
    with torch.autocast(rows.device.type, enabled=False):
        return wide(rows) @ wide(columns).transpose(-2, -1)


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
        logits = self.scale * products(self.query[:, :, rows], self.key)
        if self.bias is not None:
            logits = logits + wide(self.bias).expand(*self.query.shape[:-1], self.tokens)[:, :, rows]
        return logits.softmax(-1)

    def gradient(self, of_output: Tensor, rows: slice) -> Tensor:
        """G[r,:] = (∂s/∂o_r) Vᵀ, the gradient of the attention, from that of `output`: (B,H,R,N)."""
        return products(of_output[:, :, rows], self.value)


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
    def blocks(self) -> list[Call]:
        """The calls without those of pooling attentions."""
        return [call for call in self.calls if not pools(call.name)]

    @property
    def names(self) -> list[str]:
        """Dotted module names of the captured attentions."""
        return [call.name for call in self.calls]


def pools(name: str) -> bool:
    """Whether an attention of that dotted name is a pooling attention, no block.

    timm and OpenCLIP call it `attn_pool`; the SigLIP of `transformers` has it as the attention of its `head`.
    """
    parts = name.split(".")
    return "attn_pool" in parts or parts[-2:] == ["head", "attention"]


def global_calls(tap: Tap, place: Geometry) -> list[Call]:
    """The self-attentions over all tokens of the patch grid, in order; a conv stem may have its own before.

    Raises:
        CaptureError: there are none, later ones see other tokens (windows, shrinking grids), or a module ran twice.
    """
    _refuse_repeats(tap)
    calls = [c for c in tap.calls if c.queries == c.tokens]
    without_prefix = place.tokens - place.prefix  # blocks before a class token joins (ConViT) are no stem
    while calls and calls[0].tokens not in (place.tokens, without_prefix):
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
    last = tap.blocks[-1] if tap.blocks else None
    if last is None or not _has_token_row(last, place, last):
        raise _no_global_row(tap, place)
    for call in tap.calls:
        if isinstance(call, AttentionCall) and call.tokens < patches == call.value.shape[-1]:
            raise CaptureError(
                f"{call.name} attends over channels, not over patches (XCiT): its blocks have no row to read"
            )
    return [call for call in tap.blocks[start:] if _has_token_row(call, place, last)]


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
        "attention in every block; --method gradcam reads features instead"
    )
