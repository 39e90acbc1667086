"""The frozen result of every map method, and what methods share: slots of classes, the rows they read."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from getam.attention.capture import Geometry, geometry
from getam.errors import InputError


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


def geometry_of(model: nn.Module, images: Tensor, rows: str | None = None) -> Geometry:
    """Token geometry of `model` for photos (B,3,H,W), with other query rows than the model's own where asked for."""
    place = geometry(model, images.shape[-2], images.shape[-1])
    return place if rows is None else replace(place, rows=rows)
