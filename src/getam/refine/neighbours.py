"""The 8 neighbours of a pixel at several dilations, and maps averaged over them: what PAMR and PAR share."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.errors import InputError
from getam.refine.inputs import require_finite

DILATIONS = (1, 2, 4, 8, 12, 24)  # arXiv 2005.08104, section 4; PAR (arXiv 2203.02664) takes the same

# Pixels of all maps worked on at a time: on the CPU they stay in the cache, elsewhere launches are what costs.
CPU_STRIP, DEVICE_STRIP = 1 << 16, 1 << 20
WEIGHT_SHARE = 4  # weights need 48 differences per pixel at once, so their strips are this much smaller

Weigh = Callable[[Tensor], Tensor]  # differences to the neighbours (n,G,3,h,w) -> weights (n,G,h,w)
Offsets = list[tuple[int, int]]


def average_over_neighbours(
    images: Tensor, maps: Tensor, weigh: Weigh, *, iterations: int, dilations: Sequence[int]
) -> Tensor:
    """`map_i ← Σ_j w_ij map_j`, `iterations` times, over the 8 neighbours j at every dilation (replicated borders).

    Args:
        images: (B,3,H,W), any dtype, values 0–255.
        maps: (B,K,h,w), any size: brought to (H,W) first (bilinear, aligned corners).
        weigh: weights from the differences I_j − I_i, (n,G,3,h,w) -> (n,G,h,w); called on strips of rows. n runs
            over `neighbour_offsets(dilations)`.
        iterations: 0 returns the maps at photo size.
        dilations: distances in pixels.

    Returns:
        (B,K,H,W) float32.

    Raises:
        InputError: when shapes do not fit together, values are not finite, or no dilation (or one below 1) is given.
    """
    offsets = neighbour_offsets(dilations)
    maps = photo_sized(images, maps)
    if iterations == 0 or maps.numel() == 0:
        return maps
    group = max(1, _budget(images.device) // maps[0].numel())
    pairs = zip(images.float().split(group), maps.split(group))
    return torch.cat(
        [_average_group(photos, their_maps, weigh, iterations, offsets) for photos, their_maps in pairs]
    )


def photo_sized(images: Tensor, maps: Tensor) -> Tensor:
    """Maps (B,K,h,w) of any size and dtype -> (B,K,H,W) float32 (bilinear, aligned corners), K = 0 included.

    Raises:
        InputError: images that are not (B,3,H,W), maps that are not (B,K,h,w), another number of them, or values that
            are not finite.
    """
    if images.ndim != 4 or maps.ndim != 4 or len(images) != len(maps):
        raise InputError(
            f"images are {tuple(images.shape)} and maps {tuple(maps.shape)}: pass images (B,3,H,W) and maps (B,K,h,w) "
            "of the same batch."
        )
    require_finite(images=images, maps=maps)
    size = (images.shape[-2], images.shape[-1])
    if maps.shape[0] * maps.shape[1] == 0:
        return maps.new_zeros((*maps.shape[:2], *size), dtype=torch.float32)
    return F.interpolate(maps.float(), size=size, mode="bilinear", align_corners=True)


def neighbour_offsets(dilations: Sequence[int]) -> Offsets:
    """The 8 neighbours (dy,dx) of every dilation, dilation by dilation.

    Raises:
        InputError: when no dilation (or one below 1) is given.
    """
    if not dilations or min(dilations) < 1:
        raise InputError(f"dilations are {tuple(dilations)}: pass at least one, each 1 pixel or more.")
    ring = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    return [(dilation * dy, dilation * dx) for dilation in dilations for dy, dx in ring]


def deviation(difference: Tensor, samples: int) -> Tensor:
    """Unbiased standard deviation over the neighbours, from differences (n,…) to a centre -> (…).

    `samples` − n of the samples are the centre itself: they add nothing to moments about it, which lose at most a
    digit to cancellation.
    """
    total = difference.sum(0)
    squares = torch.linalg.vector_norm(difference, dim=0).square_()
    return ((squares - total * total / samples).clamp_(min=0) / (samples - 1)).sqrt_()


def _average_group(images: Tensor, maps: Tensor, weigh: Weigh, iterations: int, offsets: Offsets) -> Tensor:
    """Photos (G,3,H,W) and their maps (G,K,H,W) -> (G,K,H,W): one large photo, or small ones together."""
    weights = _weights(images, weigh, offsets)
    reach = max(dy for dy, _ in offsets)
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


def _weights(images: Tensor, weigh: Weigh, offsets: Offsets) -> Tensor:
    """Photos (G,3,H,W) -> (8·dilations,G,H,W); strips keep the differences small."""
    reach = max(dy for dy, _ in offsets)
    photos, _, height, width = images.shape
    rows = max(1, _budget(images.device) // (WEIGHT_SHARE * photos * width))
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    weights = images.new_empty((len(offsets), photos, height, width))
    for top in range(0, height, rows):
        centre = images[:, :, top : top + rows]
        difference = torch.stack(
            [_shifted(padded, reach, top, centre.shape[2], width, dy, dx) - centre for dy, dx in offsets]
        )
        weights[:, :, top : top + rows] = weigh(difference)
    return weights


def _shifted(padded: Tensor, reach: int, top: int, rows: int, width: int, dy: int, dx: int) -> Tensor:
    """View of the neighbours at (dy,dx) of a strip of rows; no copy."""
    return padded[:, :, reach + top + dy :, reach + dx :][:, :, :rows, :width]


def _budget(device: torch.device) -> int:
    """Pixels of all maps worked on at a time."""
    return CPU_STRIP if device.type == "cpu" else DEVICE_STRIP
