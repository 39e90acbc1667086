"""What a mask says about itself where there is no truth: how much it covers, and whether that can be right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from getam.errors import InputError
from getam.label_numbers import DEEP_IGNORE, deepened

EDGE_TO_EDGE = (
    0.95  # share of the photo from which a class leaves no background to speak of; by eye, not tuned
)
NOTHING = 0.001  # share below which nothing was found: 30 × 30 pixels of a megapixel
MOSTLY_UNDECIDED = 0.5
ROWS = 1000  # counted at once


@dataclass(frozen=True)
class Plausibility:
    """Shares of the photo, 0–1, and what looks wrong.

    Attributes:
        covered: of labels 0 (background) to C.
        undecided: of what is of no class and no background.
        doubts: what looks wrong, in words, the gravest first; empty: nothing does.
    """

    covered: tuple[float, ...]
    undecided: float
    doubts: tuple[str, ...]

    @property
    def foreground(self) -> float:
        """Share of all classes together."""
        return sum(self.covered[1:])

    @property
    def worth_a_look(self) -> float:
        """The higher, the sooner: 1 for each doubt, ½ of the undecided share, ¼ of how near to empty or full it is."""
        return len(self.doubts) + 0.5 * self.undecided + 0.25 * abs(2 * self.foreground - 1)


def plausibility(
    label: npt.NDArray[np.uint8 | np.uint16],
    class_names: Sequence[str],
    tags: Sequence[int] | None = None,
) -> Plausibility:
    """Judge one mask by itself.

    Args:
        label: (H, W) uint8: 0 background, class index + 1, 255 undecided; uint16 beyond 254 classes, and 65535.
        class_names: C names without background.
        tags: indices of the classes the photo is tagged with; None: not known.

    Raises:
        InputError: not (H, W), empty, or a label beyond the classes.

    >>> full = np.ones((4, 4), np.uint8)
    >>> plausibility(full, ["cat", "dog"]).doubts
    ('cat covers everything',)
    >>> plausibility(full, ["cat", "dog"], tags=[0, 1]).doubts
    ('cat covers everything', 'tagged dog, not found')
    """
    if label.ndim != 2 or label.size == 0:
        raise InputError(f"a mask is (H, W), not {label.shape}")
    classes = len(class_names)
    counts = np.zeros(DEEP_IGNORE + 1, np.int64)
    for first in range(0, len(label), ROWS):  # counting takes 8 bytes a pixel
        counts += np.bincount(deepened(label[first : first + ROWS], classes).ravel(), minlength=len(counts))
    beyond = np.flatnonzero(counts[classes + 1 : DEEP_IGNORE])
    if len(beyond):
        raise InputError(f"label {beyond[0] + classes + 1} is beyond the {classes} classes")
    shares = counts / label.size
    covered = tuple(float(share) for share in shares[: classes + 1])
    undecided = float(shares[DEEP_IGNORE])
    doubts = []
    painted = [place for place in range(classes) if covered[place + 1] >= NOTHING]
    if sum(covered[1:]) >= EDGE_TO_EDGE:
        doubts.append(f"{' and '.join(class_names[place] for place in painted)} covers everything")
    if undecided > MOSTLY_UNDECIDED:
        doubts.append(f"{undecided:.0%} undecided")
    if tags is None:
        doubts += [] if painted or undecided > MOSTLY_UNDECIDED else ["nothing found"]
    else:
        doubts += [f"tagged {class_names[place]}, not found" for place in tags if place not in painted]
    return Plausibility(covered, undecided, tuple(doubts))
