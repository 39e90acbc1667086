"""LeGrad: how each block's attention forms the class score (Bousselham et al., ICCV 2025, arXiv 2404.03214)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from getam.attention.capture import Call, Geometry, Tap, capture, geometry, global_calls
from getam.errors import CaptureError, InputError
from getam.maps.base import Maps, class_slots
from getam.maps.scores import class_scores, require_gradients, score_gradients, slot_scores, slot_sum
from getam.threads import Hooks

SAME = 1e-3  # how far the score read from the last block may be from the model's, relative to its largest


def legrad(
    model: nn.Module,
    images: Tensor,
    classes: Sequence[Sequence[int]] | Tensor,
    *,
    start: int = 0,
) -> Maps:
    """E = mean_ℓ mean_{H, rows} relu(∂s^ℓ/∂A^ℓ), s^ℓ the class score the model's own head reads from block ℓ's tokens.

    Patch columns only; the paper's min–max is left to whoever shows the map. Where an attention pools the tokens, its
    matrix on the tokens of block ℓ takes the place of A^ℓ, as in the paper.

    Args: model, images, classes as `methods.getam.getam`; the model must be one of timm's vision transformers
        (`blocks`, `norm`, `forward_head`) or a module around one that adds nothing behind it, for only there can the
        head be put on any block.
        start: first block that counts; the paper averages all.

    Returns:
        `Maps` on the patch grid.

    Raises:
        CaptureError: the head cannot be put on the blocks, or as `getam`.
        InputError: bad classes or start.
    """
    require_gradients(model)
    place = geometry(model, images.shape[-2], images.shape[-1])
    inner = _with_head(model)
    blocks = list(inner.blocks)
    if not 0 <= start < len(blocks):
        raise InputError(f"start={start} is outside 0..{len(blocks) - 1}, the model's {len(blocks)} blocks")
    tokens: list[Tensor] = []
    with torch.enable_grad():
        with Hooks() as hooks, capture(model, leaf_from=0, freeze=True) as tap:
            for block in blocks:
                hooks.after(block, lambda _module, _inputs, output: tokens.append(output))
            scores = class_scores(model, images)
        if any(not isinstance(given, Tensor) for given in tokens):
            raise CaptureError(
                f"the blocks of {type(model).__name__} hand on more than the tokens the head reads"
            )
        with capture(model, leaf_from=0, freeze=True) as heads:
            read = [_read(inner, given) for given in tokens]
    difference = (read[-1] - scores).abs().max() if read and read[-1].shape == scores.shape else torch.inf
    if difference > SAME * scores.abs().max():
        raise CaptureError(
            f"the head of {type(model).__name__} on its last block does not give the model's score: LeGrad cannot put "
            "it on the others"
        )
    attended = _by_block(tap, heads, place, len(blocks))
    slots, valid = class_slots(classes, images.shape[0], scores.shape[1], scores.device)
    patches = place.grid[0] * place.grid[1]
    values = torch.zeros(*slots.shape, patches, device=scores.device)
    for k in range(slots.shape[1]):
        found = []
        for block in range(start, len(blocks)):
            summed = slot_sum(read[block], slots[:, k])
            outputs = [call.output for call in attended[block]]
            gradients = score_gradients(summed, outputs)
            with torch.no_grad(), torch.autocast(scores.device.type, enabled=False):
                pairs = zip(attended[block], gradients)
                found += [_formed(c, g, place)[:, -patches:] for c, g in pairs if g is not None]
        values[:, k] = torch.stack(found).mean(0)
    picked_scores = slot_scores(scores, slots)
    return Maps(
        values.unflatten(-1, place.grid), valid, slots, picked_scores, "legrad", place.grid, place.rows
    )


def _with_head(model: nn.Module) -> Any:
    """`model`, or the module in it, that has blocks and a head which can be put on any of them."""
    for module in model.modules():
        callables = (getattr(module, name, None) for name in ("norm", "forward_head"))
        if isinstance(getattr(module, "blocks", None), (nn.Sequential, nn.ModuleList)) and all(
            map(callable, callables)
        ):
            return module
    raise CaptureError(
        f"LeGrad puts the model's head on each of its blocks; {type(model).__name__} has no blocks, norm and "
        "forward_head as timm's vision transformers do"
    )


def _read(model: Any, tokens: Tensor) -> Tensor:
    """Class scores (B,C) of the head on the tokens of any block."""
    scores = model.forward_head(model.norm(tokens))
    return torch.stack(scores).mean(0) if isinstance(scores, tuple) else scores


def _by_block(tap: Tap, heads: Tap, place: Geometry, blocks: int) -> list[list[Call]]:
    """The attentions whose gradient is taken, per block."""
    calls = global_calls(tap, place)
    if place.rows == "pool":
        if len(heads.calls) != blocks:
            raise CaptureError("no pooling attention ran when the head was put on the blocks")
        return [[call] for call in heads.calls]
    found = [[c for c in calls if f"blocks.{i}." in c.name] for i in range(blocks)]
    if not all(found):
        raise CaptureError(f"blocks.{found.index([])} has no attention over the patch grid")
    return found


def _formed(call: Call, gradient: Tensor, place: Geometry) -> Tensor:
    """Mean over heads and query rows of relu(∂s/∂A), (B,N); rows that the score is not read from have none."""
    rows = slice(0, place.prefix) if place.rows == "cls" else slice(None)
    return call.gradient(gradient, rows).relu().mean(1).sum(1) / call.queries
