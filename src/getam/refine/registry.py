"""Refiners by name: a new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from getam.errors import InputError
from getam.refine.beliefs import crf_of_maps
from getam.refine.boundary import boundary_walk
from getam.refine.class_aware import class_aware_affinity
from getam.refine.crf_parameters import AFA, DEEPLAB, IRN
from getam.refine.diffusion import attention_diffusion
from getam.refine.geodesic import geodesic_expansion
from getam.refine.pamr import pamr
from getam.refine.par import par
from getam.refine.random_walk import ACR as ACR_WALK
from getam.refine.random_walk import AFA as AFA_WALK
from getam.refine.random_walk import IRN as IRN_WALK
from getam.refine.random_walk import random_walk
from getam.registry import find


@dataclass(frozen=True)
class Refiner:
    """A refiner and what it needs besides maps (B,K,h,w).

    Attributes:
        function: called by keyword with `maps` and what it needs.
        needs: "images" (B,3,H,W) in 0–255, which give maps at photo size; or for maps that stay on the patch grid
            (B,h·w,h·w): "affinity", symmetric and of all blocks, or "attention", directed and of the last blocks.
        source: paper.
        from_zero: whether its paper subtracts a map's minimum afterwards: walks lift all patches.
        learned: whether a network that has learned an affinity gives that, in place of its attention.
        along: what it is where a network has learned class boundaries, called with `maps` and `boundary` (B,h,w); None:
            it takes no notice of them.
    """

    function: Callable[..., Tensor]
    needs: str
    source: str
    from_zero: bool = False
    learned: bool = False
    along: Callable[..., Tensor] | None = None


REFINERS: dict[str, Refiner] = {
    "pamr": Refiner(pamr, "images", "PAMR, arXiv 2005.08104"),
    "par": Refiner(par, "images", "AFA, arXiv 2203.02664"),
    "crf-irn": Refiner(partial(crf_of_maps, parameters=IRN), "images", "IRN, arXiv 1904.05044"),
    "crf-deeplab": Refiner(partial(crf_of_maps, parameters=DEEPLAB), "images", "DeepLab, arXiv 1606.00915"),
    "crf-afa": Refiner(partial(crf_of_maps, parameters=AFA), "images", "AFA, arXiv 2203.02664"),
    "geodesic": Refiner(geodesic_expansion, "images", "UM-CAM, arXiv 2306.11490"),
    "walk-afa": Refiner(
        partial(random_walk, walk=AFA_WALK), "affinity", "AFA, arXiv 2203.02664", learned=True
    ),
    "walk-irn": Refiner(
        partial(random_walk, walk=IRN_WALK),
        "affinity",
        "IRN, arXiv 1904.05044",
        learned=True,
        along=boundary_walk,
    ),
    "walk-acr": Refiner(partial(random_walk, walk=ACR_WALK), "affinity", "ACR, arXiv 2308.04321", True),
    "diffusion": Refiner(
        attention_diffusion, "affinity", "AD-CAM, arXiv 2211.10931, from its abstract", True
    ),
    "class-aware": Refiner(class_aware_affinity, "attention", "CLIP-ES, arXiv 2212.09506"),
}


def find_refiner(name: str) -> Refiner:
    """The refiner of that name.

    Raises:
        InputError: there is none; the message lists what there is.
    """
    return find("refiner", name, REFINERS)


def find_chain(names: Sequence[str]) -> list[Refiner]:
    """The refiners of those names, to be applied in that order; none is a chain too.

    Raises:
        InputError: an unknown name, or a refiner of patches after one that has brought the maps to photo size.

    >>> [refiner.needs for refiner in find_chain(["walk-afa", "par"])]
    ['affinity', 'images']
    """
    chain = [find_refiner(name) for name in names]
    for place, refiner in enumerate(chain):
        before = [name for name, other in zip(names[:place], chain) if other.needs == "images"]
        if refiner.needs != "images" and before:
            raise InputError(
                f"{names[place]} works on the patch grid, but {before[0]} has brought the maps to photo size: "
                f"put {names[place]} first"
            )
    return chain


def refine(
    names: Sequence[str],
    maps: Tensor,
    *,
    images: Tensor | None = None,
    affinity: Tensor | None = None,
    attention: Tensor | None = None,
    boundary: Tensor | None = None,
) -> Tensor:
    """Maps (B,K,h,w) through the refiners of those names, one after the other, each with its defaults.

    Args:
        names: in order; with none the maps come back.
        maps: (B,K,h,w) on the patch grid.
        images: (B,3,H,W) in 0–255, for refiners that need them.
        affinity, attention: (B,h·w,h·w) ≥ 0, for refiners that need them.
        boundary: (B,h,w) in [0,1], learned class boundaries: walk-irn follows them, and then needs no affinity.

    Returns:
        (B,K,H,W) when a refiner of the chain looks at the photo, else (B,K,h,w).

    Raises:
        InputError: as `find_chain`, a need that is not met, or values that are not finite.
    """
    given: dict[str, Tensor | None] = {"images": images, "affinity": affinity, "attention": attention}
    for name, refiner in zip(names, find_chain(names)):
        if refiner.along is not None and boundary is not None:
            maps = refiner.along(maps=maps, boundary=boundary)
            continue
        if given[refiner.needs] is None:
            raise InputError(f"{name} needs {refiner.needs}: pass {refiner.needs}=…")
        options: dict[str, Any] = {"maps": maps, refiner.needs: given[refiner.needs]}
        maps = refiner.function(**options)
    return maps
