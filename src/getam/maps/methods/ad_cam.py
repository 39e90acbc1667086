"""AD-CAM: a map diffused along attention that common neighbours confirm (Huang et al. 2022, arXiv 2211.10931).

A reconstruction from the paper's abstract: no code was published and its method section was not read. The abstract says
how the diffusion goes (`getam.refine.diffusion`), not which map and which attentions go in: GETAM's and all blocks' are
our choice. Any other method's map is diffused by the refiner "diffusion", which is the same function.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from getam.attention.capture import Call, Geometry
from getam.maps.affinity import affinity_of
from getam.maps.base import Maps
from getam.maps.methods.spread import spread_maps
from getam.refine.diffusion import attention_diffusion


def ad_cam(
    model: nn.Module,
    images: Tensor,
    classes: Sequence[Sequence[int]] | Tensor,
    *,
    coupling: str = "attn_grad2",
    start: int | None = None,
    rows: str | None = None,
) -> Maps:
    """m ← ½ m₀ + ½ Bᵀ m, five times, from GETAM's map m₀; B_ij ∝ A_ij cos(A_i, A_j), its rows summing to 1.

    A is the attention of patches to patches, averaged over all blocks and heads and with its transpose; steps and
    shares are those of `getam.refine.diffusion.attention_diffusion`. A map keeps its sum.

    Args, errors: as `methods.getam.getam`, whose options say how m₀ is made; and windowed or class-attention models
        have no such affinity.

    Returns:
        `Maps` on the patch grid.
    """
    return spread_maps(
        model, images, classes, _diffuse, f"ad-cam[{coupling}]", coupling=coupling, start=start, rows=rows
    )


def _diffuse(values: Tensor, calls: Sequence[Call], place: Geometry) -> Tensor:
    return attention_diffusion(values, affinity_of(calls, place))
