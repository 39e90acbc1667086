"""Pixel-adaptive refinement, PAR: PAMR with squared contrasts and a kernel of position (AFA, arXiv 2203.02664)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from getam.refine.neighbours import DILATIONS, Weigh, average_over_neighbours, deviation, neighbour_offsets

ITERATIONS = 10  # arXiv 2203.02664
CONTRAST_SCALE = 0.3  # contrast, and distance, at which an affinity falls to 1/e, in standard deviations
POSITION_WEIGHT = 0.01
SIGMA_EPSILON = 1e-8  # keeps flat neighbourhoods (σ = 0) finite


@torch.no_grad()
def par(
    images: Tensor,
    maps: Tensor,
    *,
    iterations: int = ITERATIONS,
    dilations: Sequence[int] = DILATIONS,
) -> Tensor:
    """Refine maps until they follow the edges of the photo: `map_i ← Σ_j w_ij map_j`, `iterations` times.

    `w_i = softmax_j( −mean_rgb (|I_i − I_j| / (0.3 (σ_i + 1e-8)))² ) + 0.01 softmax_j( −(d_j / (0.3 (σ_d + 1e-8)))² )`
    over the 8 neighbours j at every dilation (replicated borders). σ_i is the unbiased standard deviation of the
    neighbours' colours without pixel i itself, d_j the distance of neighbour j in pixels and σ_d the deviation of
    these distances.

    As in the reference, weights sum to 1.01: a map grows by 1.01 per iteration, all maps of a photo alike, which
    leaves their arg-max where it was. Divide by a map's maximum (`normalise_maps`) before comparing with a constant.
    Nothing is recorded for autograd.

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
    >>> refined = par(photo, seed, dilations=(1, 2))[0, 0, 4]
    >>> bool(refined[3] > 0.2), bool(refined[4] < 0.05)  # reaches the edge; what passes is the kernel of position
    (True, True)
    """
    return average_over_neighbours(
        images, maps, _weigher(dilations), iterations=iterations, dilations=dilations
    )


def _weigher(dilations: Sequence[int]) -> Weigh:
    """The weights of the docstring above; those of position are the same at every pixel."""
    distance = torch.tensor([math.hypot(dy, dx) for dy, dx in neighbour_offsets(dilations)])
    scaled = distance / (distance.std() + SIGMA_EPSILON) / CONTRAST_SCALE
    position = POSITION_WEIGHT * torch.softmax(-scaled.square(), dim=0)

    def weigh(difference: Tensor) -> Tensor:
        """Differences to the neighbours (n,G,3,h,w), overwritten -> weights (n,G,h,w), summing to 1.01."""
        sigma = deviation(difference, len(difference))
        contrast = difference.div_(sigma.add_(SIGMA_EPSILON).mul_(CONTRAST_SCALE)).square_().mean(2)
        colour = torch.softmax(contrast.neg_(), dim=0)
        return colour.add_(position.to(colour).view(-1, 1, 1, 1))

    return weigh
