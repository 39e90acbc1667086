"""Label completion without a saliency map: maps and photo alone decide what is background. Ours, not the paper's.

A constant background belief competes with the maps in a dense CRF; where a strict and a loose belief disagree, the
pixel stays undecided. How the numbers were found: docs/decisions/002-labels-without-saliency.md.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.errors import InputError
from getam.labels.completion import open_specks
from getam.labels.double_threshold import agreed
from getam.labels.inputs import require_fitting
from getam.labels.winner import winner
from getam.refine.crf import dense_crf
from getam.refine.crf_parameters import DEEPLAB, CRFParameters
from getam.refine.scaled import shrunk

FOREGROUND = 0.25  # background belief against maps whose peak is 1; chosen on 80 training photos
BACKGROUND = 0.25  # the same: nothing is undecided by default
CRF_SCALE = 0.5  # of the photo, or of its copy of 500 if it is larger; the CRF's pixels are these
CRF_ITERATIONS = 5
CRF_PARAMETERS = DEEPLAB
OPENING = 9  # odd, so that the box is centred: unlike the paper's 10 it moves nothing
SMALLEST = 1e-4


def complete_without_saliency(
    maps: Tensor,
    classes: Tensor,
    images: Tensor,
    *,
    foreground: float = FOREGROUND,
    background: float = BACKGROUND,
    iterations: int = CRF_ITERATIONS,
    parameters: CRFParameters = CRF_PARAMETERS,
    opening: int = OPENING,
) -> Tensor:
    """Pseudo labels from maps and the photo.

    1. Belief [β, maps] for a background level β, normalised per pixel; dense CRF; arg-max.
    2. Pixels that win against β = `foreground` have their class, pixels that lose against β = `background` are 0, the
       rest is 255. Equal levels leave nothing undecided.
    3. Specks: what a morphological opening of (label ≠ 0) with a box removes becomes 0.

    Args:
        maps: (B,K,H,W) float in [0,1], refined and normalised.
        classes: (B,K) int64 class index per slot, −1 where there is none.
        images: (B,3,H,W), any dtype, in 0–255.
        foreground: the strict background level, in [0,1].
        background: the loose one, ≤ `foreground`.
        iterations: of the mean field; 0 leaves the CRF out.
        parameters: of the CRF, in pixels of the photo at half size, 250 at most.
        opening: side of the box that specks must hold, pixels; 0 or 1 keeps everything.

    Returns:
        (B,H,W) uint8: 0 background, class index + 1, 255 undecided.

    Raises:
        InputError: shapes that do not belong together, values that are not finite, or background > foreground.
    """
    require_fitting(maps, classes, images=images)
    if background > foreground:
        raise InputError(
            f"the background level {background} must not be above the foreground level {foreground}"
        )
    labels = []
    for image, own, slots in zip(images, maps, classes):
        present = slots >= 0
        names = torch.cat([slots.new_zeros(1), slots[present] + 1]).to(torch.uint8)
        strict = names[_winner(own[present], image, foreground, iterations, parameters)]
        if background < foreground:
            loose = names[_winner(own[present], image, background, iterations, parameters)]
            strict = agreed(strict, loose)
        labels.append(strict)
    if not labels:
        return torch.zeros(0, *maps.shape[-2:], dtype=torch.uint8, device=maps.device)
    return open_specks(torch.stack(labels), opening)


def _winner(maps: Tensor, image: Tensor, level: float, iterations: int, parameters: CRFParameters) -> Tensor:
    """Maps (K,H,W) of one photo → (H,W) int64: 0 where the background level wins, else slot + 1."""
    belief = F.pad(maps.float(), (0, 0, 0, 0, 1, 0), value=level)
    if iterations and len(maps):
        small = shrunk(image[None], CRF_SCALE)
        coarse = F.interpolate(belief[None], size=small.shape[-2:], mode="bilinear").clamp(min=SMALLEST)
        coarse = coarse / coarse.sum(1, keepdim=True)
        refined = dense_crf(small, coarse, parameters=parameters, iterations=iterations)
        belief = F.interpolate(refined, size=image.shape[-2:], mode="bilinear")[0]
    return winner(belief)
