"""GETAM: gradient-weighted element-wise transformer attention map (arXiv 2112.02841, section "GETAM").

For class c with score s_c, block ℓ, attention A (H,N,N) after the softmax and G = ∂s_c/∂A:

    M^ℓ = mean_H( relu(G ∘ A) ) ∘ mean_H( relu(G) )        M = relu( Σ_{ℓ ≥ start} M^ℓ )[query row, patch columns]

Only the query row is needed, so no N×N matrix is made: with o the attention's output per head,
A[r,:] = softmax(scale · q_r Kᵀ) and G[r,:] = (∂s_c/∂o_r) Vᵀ, exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from getam.attention.capture import (
    Call,
    Geometry,
    Tap,
    attentions,
    capture,
    global_calls,
    pools,
    token_calls,
)
from getam.attention.class_row import class_row_graph
from getam.attention.token_rows import token_rows_only
from getam.errors import CaptureError, InputError
from getam.maps.base import Maps, check_photos, class_slots, geometry_of
from getam.maps.scores import class_scores, require_gradients, slot_gradients, slot_scores
from getam.threads import plain_kernel

ROW_CHUNK_BYTES = 64 << 20  # patch rows of average-pooled models are read in strips of this size

ROWS = ("cls", "patches", "cls+patches", "pool")

COUPLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    # attention A and gradient G, both (B,H,R,N) -> (B,R,N); heads are averaged BEFORE the outer product
    "grad": lambda A, G: G.relu().mean(1),
    "grad2": lambda A, G: G.relu().mean(1).square(),
    "attn_grad": lambda A, G: (G * A).relu().mean(1),
    "attn_grad2": lambda A, G: (G * A).relu().mean(1) * G.relu().mean(1),
}


def getam(
    model: nn.Module,
    images: Tensor,
    classes: Sequence[Sequence[int]] | Tensor,
    *,
    coupling: str = "attn_grad2",
    start: int | None = None,
    rows: str | None = None,
) -> Maps:
    """Class-specific maps of a vision transformer: one forward for the batch, one partial backward per slot.

    Args:
        model: any vision transformer of timm, torchvision, OpenCLIP or `transformers` with global attention
            (docs/coverage.md), or a module around one (images normalised as it expects), or a network of `getam.nets`
            (images 0–255). It is left as it was: mode, flags, hooks, `.grad`, `requires_grad`. Attention dropout must
            be off.
        images: (B,3,H,W) float.
        classes: per-photo class lists [[3, 7], [1]], or multi-hot tags (B,C).
        coupling: "grad", "grad2", "attn_grad" or "attn_grad2" (the paper's, default).
        start: first attention that counts; default L // 2 (6 of 12), 0 for light hybrids, whose blocks are all late.
        rows: "cls", "patches", "cls+patches" (the mean of both) or "pool"; default: derived from how the model pools.
            Attentions without that row (CaiT before its class token joins) add nothing.

    Returns:
        `Maps` on the patch grid.

    Raises:
        CaptureError: under `torch.inference_mode`, with active attention dropout, or when no global attention with
            the model's token count was found.
        InputError: bad classes, coupling, start or rows.
    """
    require_gradients(model)
    place = geometry_of(model, images, rows)
    # Below the first block that counts no graph is needed; modules can be counted before they run.
    blocks = sum(not pools(name) for name, _ in attentions(model))
    first = max(0, _first_block(start, place, blocks))
    spared = class_row_graph(model, first) if place.rows == "cls" else nullcontext()
    with (
        torch.enable_grad(),
        token_rows_only(model),
        spared,
        capture(model, leaf_from=first, freeze=True) as tap,
    ):
        scores = class_scores(model, images)
    slots, valid = class_slots(classes, images.shape[0], scores.shape[1], scores.device)
    values = attribute(tap, scores, slots, place, coupling=coupling, start=start)
    picked = slot_scores(scores, slots)
    return Maps(values, valid, slots, picked, f"getam[{coupling}]", place.grid, place.rows)


def differentiable_maps(
    model: nn.Module,
    images: Tensor,
    classes: Sequence[Sequence[int]] | Tensor,
    *,
    coupling: str = "attn_grad2",
    start: int | None = None,
    rows: str | None = None,
) -> Tensor:
    """The values of `getam` with a graph: a loss on the maps trains the model that made them (second-order gradients).

    Args: as `getam`. The model runs as it is: its mode, its trainable parameters, its checkpoints. The attention kernel
    is the plain one, since fused kernels have no second derivative: memory is O(N²) per head and block.

    Returns:
        (B,K,h,w), float32 or the model's float64, ≥ 0, zero in slots beyond a photo's classes; differentiable in the
        parameters and photos that require gradients. The gradients are those of the formula; relu has none at 0.

    Raises:
        InputError: nothing requires gradients, or as `getam`.
        CaptureError: as `getam`.
    """
    require_gradients(model)
    check_photos(images)
    if not (images.requires_grad or any(p.requires_grad for p in model.parameters())):
        raise InputError(
            "neither the photos nor any parameter requires gradients: use getam() for plain maps"
        )
    place = geometry_of(model, images, rows)
    with torch.enable_grad(), capture(model) as tap, plain_kernel():
        scores = class_scores(model, images)
        slots, valid = class_slots(classes, images.shape[0], scores.shape[1], scores.device)
        couple = _coupling(coupling)
        calls = _blocks_to_read(tap, place, start)
        outputs = [call.output for call in calls]
        maps = [scores.new_zeros(len(images), 0, *place.grid)]
        for k, gradients in slot_gradients(scores, slots, outputs, create_graph=True):
            with torch.autocast(scores.device.type, enabled=False):
                blocks = [
                    _map_of_block(c, g, place, couple) for c, g in zip(calls, gradients) if g is not None
                ]
            summed = torch.stack(blocks).sum(0).relu() * valid[:, k, None]
            maps.append(summed.view(-1, 1, *place.grid))
    return torch.cat(maps, 1)


def attribute(
    tap: Tap,
    scores: Tensor,
    slots: Tensor,
    place: Geometry,
    *,
    coupling: str = "attn_grad2",
    start: int | None = None,
) -> Tensor:
    """Maps of the slots from a forward that has already run under `capture` (the joint training step uses this).

    Args:
        tap: the captured forward; its graph is kept.
        scores: (B,C) class scores of that forward.
        slots: (B,K) int64 class per slot, −1 for none. Photos do not interact, so slot k of the whole batch costs
            one backward pass through the blocks ≥ start, activations only.
        place: token geometry.
        coupling: name in `COUPLINGS`.
        start: first block that counts; None: as `getam`.

    Returns:
        (B,K,h,w) float32 ≥ 0, detached; zero in empty slots.
    """
    return block_maps(tap, scores, slots, place, coupling=coupling, start=start).sum(0).relu_()


def block_maps(
    tap: Tap,
    scores: Tensor,
    slots: Tensor,
    place: Geometry,
    *,
    coupling: str = "attn_grad2",
    start: int | None = None,
) -> Tensor:
    """M^ℓ of every block ≥ start before they are summed: (L−start,B,K,h,w) float32 ≥ 0; arguments as `attribute`."""
    couple = _coupling(coupling)
    calls = _blocks_to_read(tap, place, start)
    shape = (len(calls), scores.shape[0], slots.shape[1], place.grid[0] * place.grid[1])
    values = torch.zeros(shape, dtype=torch.float32, device=scores.device)
    outputs = [call.output for call in calls]
    for k, gradients in slot_gradients(scores, slots, outputs):
        present = slots[:, k] >= 0
        with torch.no_grad(), torch.autocast(scores.device.type, enabled=False):
            for block, (call, gradient) in enumerate(zip(calls, gradients)):
                if gradient is not None:
                    row = _map_of_block(call, gradient, place, couple)
                    values[block, :, k] = row * present[:, None]
        del gradient, gradients  # or the next slot's would come on top
    return values.unflatten(-1, place.grid)


def _coupling(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    if name not in COUPLINGS:
        raise InputError(f"coupling {name!r} is not one of {', '.join(COUPLINGS)}")
    return COUPLINGS[name]


def _first_block(start: int | None, place: Geometry, blocks: int) -> int:
    """The first block that counts: as asked, else as the network says, else half of them (the paper's 6 of 12)."""
    if start is not None:
        return start
    return blocks // 2 if place.start is None else place.start


def _blocks_to_read(tap: Tap, place: Geometry, start: int | None) -> list[Call]:
    """The calls ≥ start whose rows are read, checked against the geometry, with a graph to take gradients in."""
    calls = _calls_with_rows(tap, place, start)
    if without := [call.name for call in calls if not call.output.requires_grad]:
        raise CaptureError(
            f"the forward left no graph in {without[0]}: it ran under no_grad() or in a reentrant checkpoint "
            "(use torch.utils.checkpoint with use_reentrant=False)"
        )
    return calls


def _calls_with_rows(tap: Tap, place: Geometry, start: int | None) -> list[Call]:
    patches = place.grid[0] * place.grid[1]
    if place.rows == "pool":
        calls = [c for c in tap.calls if c.queries == 1 and c.tokens in (patches, patches + place.prefix)]
        if not calls:
            raise CaptureError(
                "no pooling attention over the patches was captured: pass rows='patches' or rows='cls'"
            )
        return calls[-1:]
    if not place.rows:
        global_calls(tap, place)  # where there is none, that is the answer
        raise CaptureError(
            "the model does not say where its class score is read (its global_pool is '' or unknown here): pass "
            "rows='cls', 'patches', 'cls+patches' or 'pool'"
        )
    if place.rows not in ROWS:
        raise InputError(f"rows={place.rows!r} is not one of {', '.join(ROWS)}")
    if place.rows != "patches" and place.prefix == 0:
        raise InputError(
            f"rows={place.rows!r} was asked of a model without prefix tokens: use rows='patches'"
        )
    calls = tap.blocks if place.rows == "cls" else global_calls(tap, place)
    first = _first_block(start, place, len(calls))
    if calls and not 0 <= first < len(calls):
        raise InputError(f"start={first} is outside 0..{len(calls) - 1}, the model's {len(calls)} blocks")
    return token_calls(tap, place, first) if place.rows == "cls" else calls[first:]


def _map_of_block(
    call: Call, gradient: Tensor, place: Geometry, couple: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """M^ℓ of one block at the rows that are read: (B, h·w), at least float32."""
    patches = place.grid[0] * place.grid[1]
    columns = slice(call.tokens - patches, call.tokens)

    def of_the_first() -> Tensor:  # the CLS token, or the one latent of a pooling attention
        return _rows(call, gradient, slice(0, 1), couple)[:, 0, columns]

    def of_the_patches() -> Tensor:
        per_row = call.output.shape[0] * call.output.shape[1] * call.tokens * 4 * 3
        step = max(1, ROW_CHUNK_BYTES // per_row)
        strips = [
            slice(first, min(first + step, call.tokens)) for first in range(place.prefix, call.tokens, step)
        ]
        sums = [_rows(call, gradient, strip, couple)[..., columns].sum(1) for strip in strips]
        return torch.stack(sums).sum(0) / patches

    if place.rows == "cls+patches":
        return (of_the_first() + of_the_patches()) / 2
    return of_the_patches() if place.rows == "patches" else of_the_first()


def _rows(call: Call, gradient: Tensor, rows: slice, couple: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Coupled rows (B,R,N) of one block, from ∂s/∂o of its output."""
    return couple(call.attention(rows), call.gradient(gradient, rows))
