"""ACR's map: gradients of the last attentions, spread once along all of them (attention consistency regularisation).

The GETAM family with other choices, then affinity propagation: of the objective of ACR this file has nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from getam.attention.capture import Call, Geometry, attentions, pools
from getam.maps.affinity import affinity_of
from getam.maps.base import Maps, geometry_of
from getam.maps.methods.spread import spread_maps
from getam.refine.random_walk import ACR, random_walk

LAST = 2  # blocks that count by default: 10 and 11 of 12, the reference's setting for VOC


def acr(
    model: nn.Module,
    images: Tensor,
    classes: Sequence[Sequence[int]] | Tensor,
    *,
    coupling: str = "grad",
    start: int | None = None,
    rows: str | None = None,
) -> Maps:
    """v = relu( Σ_{ℓ ≥ start} M^ℓ )[query row]; v ← ( Σ_all ℓ mean_H A^ℓ[patches, patches] ) v, not normalised.

    Args:
        model, images, classes, rows: as `methods.getam.getam`.
        coupling: as there; the reference's names are grad, grad_s, cam_grad, cam_grad_s. Its default is "grad".
        start: first block that counts in M; default: the last two. All blocks count in the propagation.

    Returns:
        `Maps` on the patch grid. The reference squashes photos to 384×384, adds the mirrored photo's map and brings
        each to [0,1]; that is `getam.maps.multiscale`'s work.

    Raises:
        CaptureError, InputError: as `getam`; and windowed or class-attention models have no such affinity.
    """
    place = geometry_of(model, images, rows)
    if start is None and place.rows != "pool":
        start = max(0, sum(not pools(name) for name, _ in attentions(model)) - LAST)
    return spread_maps(
        model, images, classes, _walk, f"acr[{coupling}]", coupling=coupling, start=start, rows=rows
    )


def _walk(values: Tensor, calls: Sequence[Call], place: Geometry) -> Tensor:
    total = len(calls) * affinity_of(calls, place, symmetric=False)  # the reference sums over blocks
    return random_walk(values, total, walk=ACR)
