"""What labellers ask of their inputs, in the same words everywhere."""

from __future__ import annotations

from torch import Tensor

from getam.errors import InputError
from getam.label_numbers import SHALLOW_CLASSES
from getam.refine.inputs import require_finite


def require_fitting(
    maps: Tensor,
    classes: Tensor,
    *,
    images: Tensor | None = None,
    needs_images: bool = False,
    saliency: Tensor | None = None,
) -> None:
    """Raises InputError unless maps (B,K,H,W), classes (B,K), images (B,3,H,W) and saliency (B,H,W) belong together.

    NaN and infinite values are refused as well: no rule could tell what they stand for.
    """
    if needs_images and images is None:
        raise InputError("these labels look at the photos: pass images (B,3,H,W) in 0–255.")
    size = tuple(maps.shape[-2:])
    expected: dict[str, tuple[Tensor, tuple[int, ...], str]] = {
        "classes": (classes, tuple(maps.shape[:2]), "(B,K)")
    }
    if images is not None:
        expected["images"] = (images, (len(maps), 3, *size), "(B,3,H,W)")
    if saliency is not None:
        expected["saliency"] = (saliency, (len(maps), *size), "(B,H,W)")
    for name, (tensor, shape, letters) in expected.items():
        if maps.ndim != 4 or tuple(tensor.shape) != shape:
            raise InputError(
                f"maps {tuple(maps.shape)} and {name} {tuple(tensor.shape)} do not belong together: expected (B,K,H,W) "
                f"and {letters}."
            )
    require_finite(maps=maps, images=images, saliency=saliency)
    require_shallow(classes)


def require_shallow(classes: Tensor) -> None:
    """Raises InputError unless the labels of all classes fit into 8 bits, beside 255 for undecided."""
    if classes.numel() and int(classes.max()) >= SHALLOW_CLASSES:
        raise InputError(
            f"class {int(classes.max())} does not fit into 8-bit labels, which end with class {SHALLOW_CLASSES - 1}: "
            "use label_with with count, the length of the class list."
        )


def require_levels(*, high: float, low: float) -> None:
    """Raises InputError unless 0 ≤ low ≤ high ≤ 1."""
    if not 0 <= low <= high <= 1:
        raise InputError(f"high {high} and low {low}: they must be 0 ≤ low ≤ high ≤ 1.")


def unit_saliency(saliency: Tensor) -> Tensor:
    """Saliency (…) as float32 in [0,1], bool included.

    Raises:
        InputError: values outside [0,1], as of an 8-bit map, or NaN.

    >>> import torch
    >>> unit_saliency(torch.tensor([True, False])).tolist()
    [1.0, 0.0]
    """
    require_finite(saliency=saliency)
    unit = saliency.float()
    if unit.numel() and not (float(unit.min()) >= 0 and float(unit.max()) <= 1):
        raise InputError(
            f"saliency runs from {float(unit.min()):g} to {float(unit.max()):g}: pass it in [0,1] (8-bit maps / 255)."
        )
    return unit
