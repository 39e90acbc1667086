"""The frozen result of every map method, and what methods share: slots of classes, their scores, the rows they read."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from getam.attention.capture import Geometry, geometry
from getam.errors import CaptureError, InputError

SCALES = (
    2.0**15,
    2.0**11,
    2.0**7,
    2.0**3,
    1.0,
)  # of scores whose gradients float16 has to hold, largest first


@dataclass(frozen=True, eq=False)
class Maps:
    """Class-specific maps of a batch of photos; K = most classes asked of one photo.

    Attributes:
        values: (B,K,h,w) float32 ≥ 0; zero in slots that are not valid.
        valid: (B,K) bool, False for the slots beyond a photo's own classes.
        classes: (B,K) int64 class indices; slot k of photo b is its k-th listed class; −1 where not valid.
        scores: (B,K) float32, the class scores (logits) of the slots; 0 where not valid.
        method: name of the method, with the options that define it.
        grid: (h, w) patch grid.
        rows: which query rows were read ("cls", "patches", "cls+patches", "pool"), "" where the method reads none.

    Raises:
        InputError: a score or a map is not finite; refiners would spread it over the photo.
    """

    values: Tensor
    valid: Tensor
    classes: Tensor
    scores: Tensor
    method: str
    grid: tuple[int, int]
    rows: str = ""

    def __post_init__(self) -> None:
        for what, numbers in (("class scores", self.scores), ("maps", self.values)):
            finite = numbers.isfinite().flatten(1).all(1).tolist()
            if False in finite:
                raise InputError(
                    f"photo {finite.index(False)} of the batch has {what} that are not finite (NaN or infinite): the "
                    "photo or the network's weights hold such numbers, or half precision overflowed"
                )

    def top(self, k: int) -> Self:
        """The `k` classes of each photo with the highest scores, best first; fewer where it has fewer.

        Raises:
            InputError: `k` is below 1.
        """
        if k < 1:
            raise InputError(f"top({k}): give a positive number of classes")
        best = self.scores.masked_fill(~self.valid, -torch.inf).argsort(dim=1, descending=True, stable=True)[
            :, :k
        ]
        places = best[:, :, None, None].expand(-1, -1, *self.values.shape[-2:])
        return replace(
            self,
            values=self.values.gather(1, places),
            valid=self.valid.gather(1, best),
            classes=self.classes.gather(1, best),
            scores=self.scores.gather(1, best),
        )

    def to_masks(self, threshold: float, *, size: tuple[int, int] | None = None) -> Tensor:
        """Where each map is above `threshold` times its own peak: (B,K,H,W) bool.

        Args:
            threshold: in [0,1).
            size: (H, W) to which maps are enlarged before (bilinear); that of the maps when left out.

        Raises:
            InputError: a threshold outside [0,1).
        """
        check_threshold(threshold)
        values = self.values
        if size is not None:
            values = F.interpolate(values, size=size, mode="bilinear", align_corners=False)
        return values > threshold * values.amax((2, 3), keepdim=True)


def check_threshold(threshold: float) -> None:
    """Raise `InputError` outside [0,1)."""
    if not 0 <= threshold < 1:
        raise InputError(f"threshold {threshold} is outside [0, 1), the share of each map's peak")


def check_photos(images: Tensor) -> None:
    """Raise `InputError` where `images` is not (B, channels, H, W) with at least one photo."""
    if not isinstance(images, Tensor):
        raise InputError(f"images are a {type(images).__name__}, not a tensor of shape (B, channels, H, W)")
    if images.ndim != 4:
        last = images.ndim == 3 and images.shape[-1] == 3 != images.shape[0]
        one = "images.permute(2, 0, 1)[None]" if last else "images[None]"
        remedy = f": for one photo pass {one}" if images.ndim == 3 else ""
        raise InputError(f"images are {tuple(images.shape)}, not (B, channels, H, W){remedy}")
    if images.shape[-1] == 3 and images.shape[1] not in (1, 3):
        raise InputError(
            f"images are {tuple(images.shape)}, channels last, not (B, channels, H, W): pass images.permute(0, 3, 1, 2)"
        )
    if not len(images):
        raise InputError(f"images are {tuple(images.shape)}: there must be at least one photo")


def class_slots(
    classes: Sequence[Sequence[int]] | Tensor | npt.NDArray[Any],
    batch: int,
    class_count: int,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Turn per-photo class lists, or multi-hot tags, into slots.

    Args:
        classes: one list of class indices per photo, e.g. [[3, 7], [1]]; or finite tags (B,C), a tensor or an array of
            NumPy's, non-zero = present.
        batch: B, the number of photos.
        class_count: C, the number of scores the model gives.
        device: where the slots go.

    Returns:
        classes (B,K) int64, −1 beyond a photo's own list, and valid (B,K) bool. K may be 0.

    Raises:
        InputError: another number of lists than photos, an index outside 0..C−1, or a tag that is NaN or infinite.

    >>> class_slots([[3, 7], [1]], batch=2, class_count=10)[0].tolist()
    [[3, 7], [1, -1]]
    """
    classes = tags_as_tensor(classes)
    if isinstance(classes, Tensor):
        if classes.shape != (batch, class_count):
            raise InputError(
                f"tags are {tuple(classes.shape)} but {batch} photos × {class_count} classes were expected"
            )
        if len(unclear := (~classes.isfinite()).nonzero()):
            photo, c = unclear[0].tolist()
            raise InputError(
                f"the tags of photo {photo} say {classes[photo, c].item()} for class {c}: 0 or 1 is meant"
            )
        lists = [row.nonzero().flatten().tolist() for row in classes]
    else:
        try:
            lists = [[_index(c) for c in row] for row in classes]
        except TypeError:
            raise InputError(
                f"classes are {classes!r}, not one list of class indices per photo, such as [[3, 7], [1]]; tags (B,C) "
                "are a tensor or an array"
            ) from None
    if len(lists) != batch:
        raise InputError(f"{len(lists)} class lists were given for {batch} photos: give one list per photo")
    for photo, row in enumerate(lists):
        for c in row:
            if not 0 <= c < class_count:
                raise InputError(
                    f"class {c} of photo {photo} is outside 0..{class_count - 1}, the model's classes"
                )
    width = max((len(row) for row in lists), default=0)
    slots = torch.tensor([row + [-1] * (width - len(row)) for row in lists], dtype=torch.int64).reshape(
        batch, width
    )
    slots = slots.to(device)
    return slots, slots >= 0


def tags_as_tensor(classes: Any) -> Any:
    """Tags (B,C) that are an array of NumPy's, as a float64 tensor; all else as it is."""
    if isinstance(classes, np.ndarray) and classes.ndim > 1 and classes.dtype.kind in "biuf":
        return torch.from_numpy(classes.astype(np.float64))
    return classes


def _index(number: Any) -> int:
    """A whole number; `TypeError` for others, and for true and false, which are meant as tags."""
    if isinstance(number, (bool, np.bool_)) or (isinstance(number, Tensor) and number.dtype == torch.bool):
        raise TypeError
    return operator.index(number)


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


def geometry_of(model: nn.Module, images: Tensor, rows: str | None = None) -> Geometry:
    """Token geometry of `model` for photos (B,3,H,W), with other query rows than the model's own where asked for."""
    place = geometry(model, images.shape[-2], images.shape[-1])
    return place if rows is None else replace(place, rows=rows)


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
