"""Dividing photos with several tags each so that every part has its share of every class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def stratified(
    labels: npt.NDArray[np.bool_], shares: Sequence[float], rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML PKDD 2011, algorithm 1).

    The class with the fewest photos left is dealt out first, each of its photos to the part that lacks it most; of
    equals the part that lacks photos most, then by chance. Photos without a class come last.

    Args:
        labels: (N,C), whether photo n has class c.
        shares: of the parts, positive, with sum 1.
        rng: decides between equals.

    Returns:
        (N,), the part of each photo: 0, 1, …

    >>> parts = stratified(np.array([[1], [1], [0], [0]], bool), [0.5, 0.5], np.random.default_rng(0))
    >>> sorted(parts[:2].tolist()), sorted(parts[2:].tolist())
    ([0, 1], [0, 1])
    """
    labels, fractions = labels.astype(bool), np.asarray(shares, float)
    parts = np.full(len(labels), -1, np.int64)
    lacking = fractions * len(labels)
    lacking_of = fractions[:, None] * labels.sum(0)[None]  # (parts, classes)

    def deal(photo: int, wish: npt.NDArray[np.float64]) -> None:
        best = np.flatnonzero(np.isclose(wish, wish.max()))
        best = best[np.isclose(lacking[best], lacking[best].max())]
        part = int(rng.choice(best))
        parts[photo] = part
        lacking[part] -= 1
        lacking_of[part, labels[photo]] -= 1

    while True:
        left = (labels & (parts < 0)[:, None]).sum(0)
        if not left.any():
            break
        rarest = np.flatnonzero(left == left[left > 0].min())
        label = int(rng.choice(rarest))
        for photo in np.flatnonzero(labels[:, label] & (parts < 0)):
            deal(int(photo), lacking_of[:, label])
    for photo in np.flatnonzero(parts < 0):
        deal(int(photo), lacking)
    return parts
