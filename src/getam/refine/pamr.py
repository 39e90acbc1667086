"""Pixel-adaptive mask refinement, PAMR: maps spread among look-alike pixels (arXiv 2005.08104, 3.3)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.errors import InputError

ITERATIONS = 10  # arXiv 2005.08104, section 4
DILATIONS = (1, 2, 4, 8, 12, 24)  # arXiv 2005.08104, section 4
SIGMA_SCALE = 0.1  # contrast at which affinity falls to 1/e, as a share of the local standard deviation
SIGMA_EPSILON = 1e-8  # keeps flat neighbourhoods (σ = 0) finite; there every neighbour counts the same
PEAK_EPSILON = 1e-5  # added to the peak of a map before dividing by it

# Pixels of all maps worked on at a time: on the CPU they stay in the cache, elsewhere launches are what costs.
CPU_STRIP, DEVICE_STRIP = 1 << 16, 1 << 20
WEIGHT_SHARE = 4  # weights need 48 differences per pixel at once, so their strips are this much smaller


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
        InputError: when shapes do not fit together, or no dilation (or one below 1) is given.

    >>> photo = torch.zeros(1, 3, 8, 8); photo[..., 4:] = 255  # black on the left, white on the right
    >>> seed = torch.zeros(1, 1, 8, 8); seed[..., :2] = 1
    >>> refined = pamr(photo, seed, dilations=(1, 2))[0, 0, 4]
    >>> bool(refined[3] > 0.2), bool(refined[4] < 1e-3)  # reaches the edge and stops there
    (True, True)
    """
    _require_fitting(images, maps, dilations)
    size = (images.shape[-2], images.shape[-1])
    if maps.shape[0] * maps.shape[1] == 0:
        return maps.new_zeros((*maps.shape[:2], *size), dtype=torch.float32)
    maps = F.interpolate(maps.float(), size=size, mode="bilinear", align_corners=True)
    if iterations == 0:
        return maps
    group = max(1, _budget(images.device) // maps[0].numel())
    pairs = zip(images.float().split(group), maps.split(group))
    return torch.cat(
        [_refine_group(photos, their_maps, iterations, dilations) for photos, their_maps in pairs]
    )


def normalise_maps(maps: Tensor, eps: float = PEAK_EPSILON) -> Tensor:
    """Divide every map (…,H,W), values ≥ 0, by its own maximum + `eps`; an empty map stays 0.

    >>> normalise_maps(torch.tensor([[[0.0, 2.0], [1.0, 4.0]]])).round(decimals=3).tolist()
    [[[0.0, 0.5], [0.25, 1.0]]]
    """
    return maps / (maps.amax(dim=(-2, -1), keepdim=True) + eps)


def _refine_group(images: Tensor, maps: Tensor, iterations: int, dilations: Sequence[int]) -> Tensor:
    """Photos (G,3,H,W) and their maps (G,K,H,W) -> (G,K,H,W): one large photo, or small ones together."""
    weights = _neighbour_weights(images, dilations)
    offsets, reach = _offsets(dilations), max(dilations)
    height, width = images.shape[-2:]
    rows = max(1, _budget(images.device) // (maps.shape[0] * maps.shape[1] * width))
    for _ in range(iterations):
        padded = F.pad(maps, (reach,) * 4, mode="replicate")
        maps = torch.zeros_like(maps)
        for top in range(0, height, rows):
            strip = maps[:, :, top : top + rows]
            for weight, (dy, dx) in zip(weights, offsets):
                neighbour = _shifted(padded, reach, top, strip.shape[2], width, dy, dx)
                strip.addcmul_(weight[:, None, top : top + rows], neighbour)
    return maps


def _neighbour_weights(images: Tensor, dilations: Sequence[int]) -> Tensor:
    """Photos (G,3,H,W) -> (8·dilations,G,H,W), summing to 1 over the neighbours; strips keep the rest small."""
    offsets, reach = _offsets(dilations), max(dilations)
    samples = 9 * len(dilations)  # every dilation's window counts the centre again
    photos, _, height, width = images.shape
    rows = max(1, _budget(images.device) // (WEIGHT_SHARE * photos * width))
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    weights = images.new_empty((len(offsets), photos, height, width))
    for top in range(0, height, rows):
        centre = images[:, :, top : top + rows]
        difference = torch.stack(
            [_shifted(padded, reach, top, centre.shape[2], width, dy, dx) - centre for dy, dx in offsets]
        )
        # Moments about the centre, whose own differences are 0: they lose at most a digit to cancellation.
        total = difference.sum(0)
        squares = torch.linalg.vector_norm(difference, dim=0).square_()
        sigma = ((squares - total * total / samples).clamp_(min=0) / (samples - 1)).sqrt_()
        contrast = difference.abs_().div_(sigma.mul_(SIGMA_SCALE).add_(SIGMA_EPSILON)).mean(2)
        weights[:, :, top : top + rows] = torch.softmax(contrast.neg_(), dim=0)
    return weights


def _offsets(dilations: Sequence[int]) -> list[tuple[int, int]]:
    """The 8 neighbours (dy,dx) of every dilation."""
    ring = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    return [(dilation * dy, dilation * dx) for dilation in dilations for dy, dx in ring]


def _shifted(padded: Tensor, reach: int, top: int, rows: int, width: int, dy: int, dx: int) -> Tensor:
    """View of the neighbours at (dy,dx) of a strip of rows; no copy."""
    return padded[:, :, reach + top + dy :, reach + dx :][:, :, :rows, :width]


def _budget(device: torch.device) -> int:
    """Pixels of all maps worked on at a time."""
    return CPU_STRIP if device.type == "cpu" else DEVICE_STRIP


def _require_fitting(images: Tensor, maps: Tensor, dilations: Sequence[int]) -> None:
    if images.ndim != 4 or maps.ndim != 4 or len(images) != len(maps):
        raise InputError(
            f"images are {tuple(images.shape)} and maps {tuple(maps.shape)}: "
            "pass images (B,3,H,W) and maps (B,K,h,w) of the same batch."
        )
    if not dilations or min(dilations) < 1:
        raise InputError(f"dilations are {tuple(dilations)}: pass at least one, each 1 pixel or more.")
