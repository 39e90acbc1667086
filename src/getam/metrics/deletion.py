"""Deletion and insertion: does the class score follow the map? Petsiuk et al., RISE (arXiv 1806.07421), section 4.1.

Deletion takes the pixels of the photo away, those of the highest map first: the class probability should fall soon.
Insertion gives them to an empty photo in the same order: it should rise soon. Neither looks at a mask, so a map can
be right here and wrong as a segmentation, where context carries the class.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.errors import InputError

STEPS = 16
"""Ours: RISE takes away 224 pixels a step, 224 steps; the area under the curve changes little from 16 on."""
BLUR = 10 / 224
"""σ of the blurred photo as a share of its long side. Ours: RISE's σ = 5 at 224 leaves what patches of 14 can read."""

ScoreFunction = Callable[[Tensor], Tensor]
"""Photos (B,3,H,W) → probability (B) of one class."""


def deletion_insertion(
    score_fn: ScoreFunction, image: Tensor, baseline: Tensor, map: Tensor, steps: int = STEPS
) -> tuple[float, float]:
    """(deletion, insertion) of one map: areas under the curves of the class probability, both in [0,1].

    With p(f) the probability when the share f of the pixels with the highest map is taken from `baseline` and the
    others from `image`, deletion = ∫ p(f) df over [0,1], by trapezoids at `steps` + 1 points; insertion exchanges
    `image` and `baseline`. Equal map values are ordered as the pixels are, row by row.

    Args:
        score_fn: photos (B,3,H,W) → (B) probabilities; called twice with B = steps + 1.
        image: (3,H,W).
        baseline: (3,H,W), the photo without what matters, such as `blurred(image)`.
        map: (H,W), any range.
        steps: at least 1.

    Raises:
        InputError: shapes that do not belong together, no step, or a map or probabilities that are not finite.
    """
    if image.shape != baseline.shape or image.shape[-2:] != map.shape or steps < 1:
        raise InputError(
            f"photo {tuple(image.shape)}, baseline {tuple(baseline.shape)} and map {tuple(map.shape)} must be of one"
            f" size, and steps ({steps}) at least 1."
        )
    _require_finite(map, "values of the map")
    order = map.flatten().argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    shares = torch.arange(steps + 1, device=order.device) / steps
    # (steps+1,1,H,W): the pixels that came first in the order
    first = (rank[None] < (shares * len(order)).round()[:, None]).view(-1, 1, *map.shape)
    deletion = score_fn(torch.where(first, baseline, image))
    insertion = score_fn(torch.where(first, image, baseline))
    for curve in (deletion, insertion):
        _require_finite(curve, "probabilities")
    return tuple(float(torch.trapezoid(p.double(), dx=1 / steps)) for p in (deletion, insertion))  # type: ignore[return-value]


def blurred(image: Tensor, sigma: float | None = None) -> Tensor:
    """The photo (3,H,W) float under a Gaussian of `sigma` pixels (`BLUR` of its long side when left out).

    The kernel ends at 3 σ; outside the frame the border pixels go on.
    """
    sigma = BLUR * max(image.shape[-2:]) if sigma is None else sigma
    radius = max(1, round(3 * sigma))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=image.device) / sigma) ** 2).to(
        image.dtype
    )
    kernel = kernel / kernel.sum()
    padded = F.pad(image[None], (radius,) * 4, mode="replicate")
    rows = F.conv2d(padded, kernel.view(1, 1, 1, -1).expand(3, 1, 1, -1), groups=3)
    return F.conv2d(rows, kernel.view(1, 1, -1, 1).expand(3, 1, -1, 1), groups=3)[0]


def _require_finite(values: Tensor, what: str) -> None:
    if lost := int((~values.isfinite()).sum()):
        raise InputError(
            f"{lost} of {values.numel()} {what} are not finite (NaN or infinite): the network has probably diverged;"
            " train it again with a smaller --lr."
        )
