"""Two background levels, and 255 where they disagree: the pseudo labels of IRN (arXiv 1904.05044) and AFA (2203.02664).

IRN's rule came with BAS, SIPE and Puzzle-CAM too, with other levels: 0.30 and 0.17 (BAS), 0.40 and 0.10 (Puzzle-CAM).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.label_numbers import IGNORE
from getam.labels.inputs import require_fitting, require_levels
from getam.labels.winner import winner
from getam.photo_size import seen_size
from getam.refine.crf import dense_crf, label_probabilities
from getam.refine.crf_parameters import IRN
from getam.refine.par import par
from getam.refine.random_walk import AFA as AFA_WALK
from getam.refine.random_walk import random_walk
from getam.refine.scaled import shrunk

IRN_HIGH, IRN_LOW = (
    0.30,
    0.05,
)  # arXiv 1904.05044: conf_fg_thres and conf_bg_thres of its code's run_sample.py
AFA_HIGH, AFA_LOW = 0.55, 0.35  # arXiv 2203.02664, VOC
PAR_SCALE = 0.5  # arXiv 2203.02664: PAR on photos at half size

Decide = Callable[[Tensor, Tensor], Tensor]  # image (1,3,H,W) and beliefs (1,C,H,W) -> beliefs (1,C,H,W)


def double_threshold(
    maps: Tensor,
    classes: Tensor,
    images: Tensor | None = None,
    *,
    high: float = IRN_HIGH,
    low: float = IRN_LOW,
    decide: Decide | None = None,
) -> Tensor:
    """Pseudo labels from maps, and the photo where `decide` looks at it.

    1. Once with β = `high` and once with β = `low`: arg-max over [β, maps], or over `decide(photo, [β, maps])`.
    2. What has a class at the high level keeps it, what is background at both is 0, the rest is 255 (`agreed`).

    Args:
        maps: (B,K,H,W) float in [0,1], normalised; slots beyond a photo's tags are ignored.
        classes: (B,K) int64 class index per slot, −1 where there is none.
        images: (B,3,H,W) in 0–255; needed by `decide` only.
        high: a map must be above it to win for certain; in [0,1].
        low: a pixel whose maps are all at most this is background for certain; in [0, high].
        decide: refines beliefs before the arg-max, one photo's present classes at a time.

    Returns:
        (B,H,W) uint8: 0 background, class index + 1, 255 undecided.

    Raises:
        InputError: shapes that do not belong together, values that are not finite, levels out of order, or `decide`
            without photos.

    >>> maps = torch.tensor([[[[0.02, 0.2, 0.9]]]])
    >>> double_threshold(maps, torch.tensor([[4]])).tolist()
    [[[0, 255, 5]]]
    """
    require_fitting(maps, classes, images=images, needs_images=decide is not None)
    require_levels(high=high, low=low)
    labels = torch.zeros(len(maps), *maps.shape[-2:], dtype=torch.uint8, device=maps.device)
    for photo, (own, slots) in enumerate(zip(maps, classes)):
        present = slots >= 0
        names = torch.cat([slots.new_zeros(1), slots[present] + 1]).to(torch.uint8)
        levels = []
        for level in (high, low):
            beliefs = F.pad(own[present].float(), (0, 0, 0, 0, 1, 0), value=level)[None]
            if decide is not None and images is not None:
                beliefs = decide(images[photo : photo + 1], beliefs)
            levels.append(names[winner(beliefs[0])])
        labels[photo] = agreed(*levels)
    return labels


def irn_label(
    maps: Tensor, classes: Tensor, images: Tensor, *, high: float = IRN_HIGH, low: float = IRN_LOW
) -> Tensor:
    """IRN: `double_threshold` whose two hard labels go through a dense CRF each (`crf_parameters.IRN`, belief 0.7).

    The CRF sees photos larger than 500 as their copy of that size (`refine.scaled.shrunk`).
    Shapes, result and errors as `double_threshold`.
    """
    return double_threshold(maps, classes, images, high=high, low=low, decide=_crf_of_hard_label)


def afa_label(
    maps: Tensor, classes: Tensor, images: Tensor, *, high: float = AFA_HIGH, low: float = AFA_LOW
) -> Tensor:
    """AFA: `double_threshold` where `softmax_c [β, maps]` goes through PAR on the photo at half size, 250 at most.

    Shapes, result and errors as `double_threshold`.
    """
    return double_threshold(maps, classes, images, high=high, low=low, decide=_par_of_softmax)


def afa_walked_label(
    maps: Tensor,
    classes: Tensor,
    images: Tensor,
    affinity: Tensor,
    grid: tuple[int, int],
    *,
    high: float = AFA_HIGH,
    low: float = AFA_LOW,
) -> Tensor:
    """AFA's labels once its affinity is learned: `afa_label` whose `softmax_c [β, maps]` takes one step along it first.

    The step, `refine.random_walk.AFA`, is on the patch grid; PAR follows, from there to the photo.

    Args:
        maps, classes, images, high, low: as `double_threshold`.
        affinity: (B,N,N) ≥ 0, N = h·w.
        grid: (h, w) of its patches.

    Returns, raises: as `double_threshold`; or affinities that do not belong to the grid.
    """
    labels = []
    for photo in range(len(maps)):
        one = slice(photo, photo + 1)
        decide = partial(_par_of_walk, affinity=affinity[one], grid=grid)
        labels.append(
            double_threshold(maps[one], classes[one], images[one], high=high, low=low, decide=decide)
        )
    return torch.cat(labels)


def agreed(strict: Tensor, loose: Tensor) -> Tensor:
    """Labels that ask for much (strict) and for little (loose) of a foreground -> 255 where only strict says 0.

    >>> strict, loose = torch.tensor([0, 0, 3], dtype=torch.uint8), torch.tensor([0, 2, 2], dtype=torch.uint8)
    >>> agreed(strict, loose).tolist()
    [0, 255, 3]
    """
    return torch.where((strict == 0) & (loose != 0), IGNORE, strict).to(torch.uint8)


def _crf_of_hard_label(image: Tensor, beliefs: Tensor) -> Tensor:
    classes = beliefs.shape[1]
    if classes == 1:  # background only
        return beliefs
    small = shrunk(image)
    if small is image:
        return dense_crf(image, label_probabilities(beliefs.argmax(1), classes), parameters=IRN)
    hard = shrunk(beliefs).argmax(1)
    refined = dense_crf(small, label_probabilities(hard, classes), parameters=IRN)
    return F.interpolate(refined, size=image.shape[-2:], mode="bilinear")


def _par_of_softmax(image: Tensor, beliefs: Tensor) -> Tensor:
    return _par_at_half(image, beliefs.softmax(1))


def _par_of_walk(image: Tensor, beliefs: Tensor, *, affinity: Tensor, grid: tuple[int, int]) -> Tensor:
    patches = F.interpolate(beliefs, size=grid, mode="bilinear", align_corners=False).softmax(1)
    return _par_at_half(image, random_walk(patches, affinity, walk=AFA_WALK))


def _par_at_half(image: Tensor, beliefs: Tensor) -> Tensor:
    height, width = image.shape[-2:]
    half = seen_size(height, width, PAR_SCALE)
    small = F.interpolate(shrunk(image).float(), size=half, mode="bilinear", align_corners=False)
    refined = par(small, beliefs)
    return F.interpolate(refined, size=(height, width), mode="bilinear", align_corners=False)
