"""Colours of classes on pages and in pictures, which colour-blind people tell apart; PNG files of masks keep VOC's."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
"""Orange, sky blue, green, yellow, blue, vermilion, purple: Okabe and Ito, "Color Universal Design", 2008, without
black, which on a photo is a shadow."""

FURTHER = (
    "#781E00", "#78FFFF", "#5A2D69", "#87D2A5", "#5A87FF", "#1E2DB4", "#874B5A", "#B42D00", "#A5FFB4", "#96D2FF",
    "#3C5AE1", "#78B478", "#C3D269",
)  # fmt: skip
"""Found one after the other: of all colours in steps of 15, neither grey nor glaring nor near black or white, the one
farthest in OKLab from those before it, as trichromats, protanopes or deuteranopes (Machado et al. 2009) see it, whoever
sees least. The last is as far from all others as the two nearest of Okabe and Ito's are from each other."""

CLASS_COLOURS = (*OKABE_ITO, *FURTHER)

LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Of lines in plots: Okabe and Ito's without yellow, which is faint on white."""


@lru_cache(maxsize=1)
def colour_table() -> NDArray[np.uint8]:
    """(21, 3) uint8: black for background, then `CLASS_COLOURS`."""
    return np.array([list(bytes.fromhex(colour[1:])) for colour in ("#000000", *CLASS_COLOURS)], np.uint8)


def colour_rows(labels: NDArray[Any]) -> NDArray[np.intp]:
    """The row of `colour_table` of each label ≥ 0, any shape: background has its own, classes beyond 20 begin anew.

    >>> colour_rows(np.array([0, 1, 20, 21, 300], np.uint16)).tolist()
    [0, 1, 20, 1, 20]
    """
    wide = labels.astype(np.intp)
    return np.where(wide > 0, (wide - 1) % len(CLASS_COLOURS) + 1, 0)


def css_colour(label: int) -> str:
    """The colour of a label, 1 and above, for a page.

    >>> css_colour(1), css_colour(21)
    ('#E69F00', '#E69F00')
    """
    return CLASS_COLOURS[(label - 1) % len(CLASS_COLOURS)]
