"""Class scores of a network, and what depends on them: gradients of the score of a slot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from getam.errors import CaptureError

# Factors of scores whose gradients float16 has to hold, largest first
SCALES = (2.0**15, 2.0**11, 2.0**7, 2.0**3, 1.0)


def class_scores(model: nn.Module, images: Tensor) -> Tensor:
    """Scores (B,C) of a forward: of a timm classifier, of the two heads of a distilled one, the `logits` of one of
    `transformers`, or of a network of ours.

    A network of ours answers through its own `class_scores` method, which leaves its decoder out.
    """
    if callable(own := getattr(model, "class_scores", None)):
        return own(images)
    head = getattr(model, "get_classifier", nn.Module)()  # timm's
    if isinstance(head, nn.Identity):
        raise CaptureError(
            "the model has no classifier (num_classes=0), so it gives features and no class scores: give it one"
        )
    output: Any = model(images)
    scores: object = getattr(output, "logits", output)
    heads = scores if isinstance(scores, tuple) else (scores,)  # two: distilled DeiT in train mode
    shapes = {head.shape if isinstance(head, Tensor) else None for head in heads}
    if len(shapes) != 1 or len(shapes.pop() or ()) != 2:
        kind = (
            f"a tensor {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        )
        raise CaptureError(
            f"the model returns {kind}, not class scores of shape (B, C): GETAM needs a classifier; one that returns "
            "more goes into a module whose forward returns its scores alone"
        )
    return torch.stack(heads).mean(0) if len(heads) > 1 else heads[0]


def slot_scores(scores: Tensor, slots: Tensor) -> Tensor:
    """`Maps.scores`: class scores (B,C) of the slots (B,K), −1 for none: (B,K) float32, 0 there, detached.

    >>> slot_scores(torch.tensor([[0.5, 2.0]]), torch.tensor([[1, -1]])).tolist()
    [[2.0, 0.0]]
    """
    return scores.detach().float().gather(1, slots.clamp(min=0)) * (slots >= 0)


def slot_sum(scores: Tensor, slot: Tensor) -> Tensor:
    """Σ over the photos of the score (B,C) of one class each, `slot` (B,), −1 for none: a scalar in the graph.

    Photos do not interact: its gradient holds that of every photo's own class.

    >>> slot_sum(torch.tensor([[0.5, 2.0], [4.0, 8.0]]), torch.tensor([1, -1])).item()
    2.0
    """
    with torch.enable_grad():
        return (scores.gather(1, slot.clamp(min=0)[:, None]).squeeze(1) * (slot >= 0)).sum()


def require_gradients(model: nn.Module) -> None:
    """Raise `CaptureError` where gradients cannot be had at all."""
    if torch.is_inference_mode_enabled():
        raise CaptureError(
            "maps need gradients, and torch.inference_mode() forbids them: use torch.no_grad() or nothing"
        )
    if any(weight.is_inference() for weight in model.parameters()):
        raise CaptureError(
            "maps need gradients, and the weights of this model were made in torch.inference_mode(), which forbids "
            "them: make or load it outside"
        )


def slot_gradients(
    scores: Tensor, slots: Tensor, outputs: Sequence[Tensor], *, create_graph: bool = False
) -> Iterator[tuple[int, tuple[Tensor | None, ...]]]:
    """∂(score of the slot's classes)/∂outputs, slot by slot; None where a score depends on none. The graph stays.

    Delete the gradients before the next slot, or its own come on top of them in memory.
    """
    for k in range(slots.shape[1]):
        yield k, score_gradients(slot_sum(scores, slots[:, k]), outputs, create_graph=create_graph)


def score_gradients(
    score: Tensor, outputs: Sequence[Tensor], *, create_graph: bool = False
) -> tuple[Tensor | None, ...]:
    """∂score/∂outputs; None where it depends on none. The graph stays.

    Where the network ran in float16, the gradients of a score, 1e-4 and less for a token, would lose digits or become 0
    on their way, and the maps multiply them with each other: the largest of `SCALES` that keeps them finite goes
    through the network instead of 1, and what comes out, float32, is divided by it.

    Args:
        score: a scalar in the graph.
        outputs: parts of that graph.
        create_graph: as of `torch.autograd.grad`.
    """
    if not any(output.dtype == torch.float16 for output in outputs):
        return _gradients(score, outputs, create_graph)
    for scale in SCALES:
        found = tuple(
            None if gradient is None else gradient.float() / scale
            for gradient in _gradients(score * scale, outputs, create_graph)
        )
        if all(bool(gradient.isfinite().all()) for gradient in found if gradient is not None):
            break
    return found


def _gradients(score: Tensor, outputs: Sequence[Tensor], create_graph: bool) -> tuple[Tensor | None, ...]:
    return torch.autograd.grad(
        score, outputs, retain_graph=True, create_graph=create_graph, allow_unused=True
    )
