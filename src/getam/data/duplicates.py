"""Photos that show the same: a perceptual hash of horizontal differences (dHash), then small pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 16
"""Rows of the small picture; it has a column more, and SIDE² differences."""
FAR_BITS = 25
"""Differences, of 256, from which two photos are not compared further."""
FAR_GREY = 8.0
"""Mean difference of the small pictures, in grey values of 0–255 after their means were taken off."""
CHUNK = 2048


@dataclass(frozen=True)
class Glance:
    """A photo as small as it can be told by.

    Attributes:
        grey: (16,17) float32, 0–255.
        bits: (16,16) bool, whether it gets brighter to the right.
    """

    grey: npt.NDArray[np.float32]
    bits: npt.NDArray[np.bool_]


def glance(photo: Image.Image) -> Glance:
    """The small picture of an RGB photo, and its differences.

    The dHash of N. Krawetz ("Kind of Like That", 2013) on a 17×16 picture instead of 9×8.
    """
    small = photo.convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX)
    grey = np.asarray(small, np.float32)
    return Glance(grey, grey[:, 1:] > grey[:, :-1])


def duplicates(glances: Sequence[Glance]) -> list[list[int]]:
    """Groups of photos that show the same, each sorted, in the order of their first ones.

    Two do where fewer than `FAR_BITS` differences and less than `FAR_GREY` separate them; groups are what such pairs
    connect. Copies that were resized, compressed or made a little brighter are found, crops and mirrored ones are not.
    """
    if not glances:
        return []
    signs = np.stack([each.bits.ravel() for each in glances]).astype(np.float32) * 2 - 1
    greys = np.stack([each.grey.ravel() for each in glances])
    greys = greys - greys.mean(1, keepdims=True)
    group = np.arange(len(glances))  # of each photo, the first one of its group
    for start in range(0, len(glances), CHUNK):
        apart = (signs.shape[1] - signs[start : start + CHUNK] @ signs.T) / 2
        for one, row in enumerate(apart, start):
            # pairs within a group say nothing new
            near = np.flatnonzero((row < FAR_BITS) & (group != group[one]))
            near = near[np.abs(greys[near] - greys[one]).mean(1) < FAR_GREY]
            if len(near):
                joined = np.unique(group[np.append(near, one)])
                group[np.isin(group, joined)] = joined[0]
    found: dict[int, list[int]] = {}
    for index, leader in enumerate(group.tolist()):
        found.setdefault(leader, []).append(index)
    return [its for its in found.values() if len(its) > 1]
