"""Pixel-adaptive mask refinement, PAMR: maps spread among look-alike pixels (arXiv 2005.08104, 3.3)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from getam.refine.neighbours import DILATIONS, average_over_neighbours, deviation

ITERATIONS = 10  # arXiv 2005.08104, section 4
SIGMA_SCALE = 0.1  # contrast at which affinity falls to 1/e, as a share of the local standard deviation
SIGMA_EPSILON = 1e-8  # keeps flat neighbourhoods (σ = 0) finite; there every neighbour counts the same
PEAK_EPSILON = 1e-5  # added to the peak of a map before dividing by it


@torch.no_grad()
def pamr(
    images: Tensor,
    maps: Tensor,
    *,
    iterations: int = ITERATIONS,
    dilations: Sequence[int] = DILATIONS,
) -> Tensor:
    """Refine maps until they follow the edges of the photo: `map_i ← Σ_j w_ij map_j`, `iterations` times.

    The neighbours j of pixel i are the 8 around it at every dilation (borders are replicated), and
    `w_i = softmax_j mean_rgb( −|I_i − I_j| / (1e-8 + 0.1 σ_i) )`, where σ_i is the unbiased standard
    deviation of the 9-pixel windows of all dilations together. Weights are computed once per photo, so
    further maps are cheap; values stay within the range of the map given. Nothing is recorded for
    autograd: refined maps are targets.

    Args:
        images: (B,3,H,W), any float or integer dtype, values 0–255.
        maps: (B,K,h,w), any size: brought to (H,W) first (bilinear, aligned corners). Present classes only.
        iterations: how often the maps are averaged; 0 returns them at photo size, unrefined.
        dilations: distances, in pixels, at which the 8 neighbours are taken.

    Returns:
        (B,K,H,W) float32.

    Raises:
        InputError: when shapes do not fit together, values are not finite, or no dilation (or one below 1) is given.

    >>> photo = torch.zeros(1, 3, 8, 8); photo[..., 4:] = 255  # black on the left, white on the right
    >>> seed = torch.zeros(1, 1, 8, 8); seed[..., :2] = 1
    >>> refined = pamr(photo, seed, dilations=(1, 2))[0, 0, 4]
    >>> bool(refined[3] > 0.2), bool(refined[4] < 1e-3)  # reaches the edge and stops there
    (True, True)
    """
    return average_over_neighbours(images, maps, _weigh, iterations=iterations, dilations=dilations)


def normalise_maps(maps: Tensor, eps: float = PEAK_EPSILON) -> Tensor:
    """Divide every map (…,H,W), values ≥ 0, by its own maximum + `eps`; an empty map stays 0.

    >>> normalise_maps(torch.tensor([[[0.0, 2.0], [1.0, 4.0]]])).round(decimals=3).tolist()
    [[[0.0, 0.5], [0.25, 1.0]]]
    """
    return maps / (maps.amax(dim=(-2, -1), keepdim=True) + eps)


def _weigh(difference: Tensor) -> Tensor:
    """Differences to the neighbours (n,G,3,h,w), overwritten -> weights (n,G,h,w), summing to 1 over them."""
    samples = 9 * len(difference) // 8  # every dilation's window counts the centre again
    sigma = deviation(difference, samples)
    contrast = difference.abs_().div_(sigma.mul_(SIGMA_SCALE).add_(SIGMA_EPSILON)).mean(2)
    return torch.softmax(contrast.neg_(), dim=0)
