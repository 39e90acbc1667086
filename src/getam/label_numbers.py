"""The numbers in label maps: 8 bits, and 16 where a class list is longer than they reach.

Label 0 is background, 1..C are the classes, and one number stands for pixels of which nothing is said: 255 in 8 bits,
65535 in 16. Which it is follows from the length of the class list, in files and in memory alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

IGNORE = 255
"""In 8 bits: the label that is neither trained on nor scored; in a prediction, no label was given."""

DEEP_IGNORE = 65535
"""The same in 16 bits."""

SHALLOW_CLASSES = IGNORE - 1
"""As many classes fit into 8 bits: 1–254."""

MAX_CLASSES = DEEP_IGNORE - 1
"""As many fit into 16."""


def is_deep(classes: int) -> bool:
    """Whether label maps of that many classes need 16 bits.

    >>> is_deep(254), is_deep(255)
    (False, True)
    """
    return classes > SHALLOW_CLASSES


def ignore_label(classes: int) -> int:
    """The label of undecided pixels in maps of that many classes.

    >>> ignore_label(20), ignore_label(300)
    (255, 65535)
    """
    return DEEP_IGNORE if is_deep(classes) else IGNORE


def label_dtype(classes: int) -> type[np.uint8] | type[np.uint16]:
    """What a label map of that many classes is stored as.

    >>> label_dtype(300).__name__
    'uint16'
    """
    return np.uint16 if is_deep(classes) else np.uint8


def deepened(label: npt.NDArray[Any], classes: int) -> npt.NDArray[np.uint16]:
    """A label map as it was read, 8 or 16 bits deep → (H,W) uint16, undecided `DEEP_IGNORE`.

    In 8 bits 255 is undecided whatever the class list; in 16 where it cannot be a class.

    >>> deepened(np.array([[1, 255]], np.uint8), 300).tolist()
    [[1, 65535]]
    >>> deepened(np.array([[255, 65535]], np.uint16), 300).tolist()
    [[255, 65535]]
    """
    deep = label.astype(np.uint16)
    if label.dtype == np.uint8 or not is_deep(classes):
        deep[label == IGNORE] = DEEP_IGNORE
    return deep


@dataclass(frozen=True)
class Among:
    """What may win a pixel of a photo: the background, and those classes of a network that are there.

    Attributes:
        classes: names of all classes of the network, without background.
        present: indices of those that are there; None where that is not known, and any may win.

    >>> among = Among(("cat", "cow", "dog"), (2, 0))
    >>> among.channels, among.names, among.labels(np.array([[0, 2]])).tolist()
    ([0, 1, 3], ('cat', 'dog'), [[0, 3]])
    """

    classes: Sequence[str]
    present: Sequence[int] | None = None

    @property
    def channels(self) -> list[int]:
        """Which of the channels background, class 0, class 1 …, ascending."""
        numbers = range(len(self.classes)) if self.present is None else sorted(set(self.present))
        return [0, *(number + 1 for number in numbers)]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes that may win, in the order of the channels."""
        return tuple(self.classes[channel - 1] for channel in self.channels[1:])

    def of(self, logits: Any) -> Any:
        """(C+1,H,W), an array or tensor → its channels that may win; where all may, itself and no copy."""
        return logits if self.present is None else logits[self.channels]

    def labels(self, winner: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Places (H,W) among the channels → the label map in the numbers of all classes; where all may win, itself."""
        if self.present is None:
            return winner
        return np.array(self.channels, label_dtype(len(self.classes)))[winner]
