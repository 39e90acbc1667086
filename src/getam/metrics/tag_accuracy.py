"""Which classes a classifier has learned, from its scores on photos whose tags are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from getam.errors import InputError

LEARNED = 0.8  # share of photos below which two classes, or a class and its absence, count as not told apart
FEW = 4  # photos below which nothing is said


@dataclass(frozen=True)
class ClassAccuracy:
    """How well one class is recognised.

    Attributes:
        name: of the class.
        photos: that have it.
        found: of these, with a score above 0 (probability ½).
        others: photos without it.
        seen: of these, with a score above 0.
        ranked: share of pairs (photo with it, photo without) in which the first has the higher score, ties count half;
            None where there is no pair.
    """

    name: str
    photos: int
    found: int
    others: int
    seen: int
    ranked: float | None


@dataclass(frozen=True)
class ToldApart:
    """Of photos that have exactly one of two classes: in how many that one has the higher score."""

    names: tuple[str, str]
    photos: int
    right: int


@dataclass(frozen=True)
class TagAccuracy:
    """All classes, and all pairs of them that photos tell apart."""

    classes: tuple[ClassAccuracy, ...]
    pairs: tuple[ToldApart, ...]

    @property
    def mean_ranked(self) -> float | None:
        """Mean of `ranked` over the classes that have one."""
        known = [one.ranked for one in self.classes if one.ranked is not None]
        return sum(known) / len(known) if known else None

    def doubts(self) -> list[str]:
        """A sentence for each two classes that are hardly told apart, and each class hardly told from its absence."""
        said = [
            f"{' and '.join(pair.names)} are told apart in {pair.right} of {pair.photos} photos"
            for pair in self.pairs
            if pair.photos >= FEW and pair.right < LEARNED * pair.photos
        ]
        return said + [
            f"{one.name} is hardly told from its absence: a photo of it scores higher than one without in "
            f"{one.ranked:.0%} of the pairs"
            for one in self.classes
            if one.ranked is not None and one.photos >= FEW and one.others >= FEW and one.ranked < LEARNED
        ]


def tag_accuracy(scores: Tensor, tags: Tensor, classes: Sequence[str]) -> TagAccuracy:
    """Count what the scores of N photos get right.

    Args:
        scores: (N,C) class logits.
        tags: (N,C), above 0 for the classes of a photo, below 0 where nobody looked: such pairs are not counted.
        classes: C names.

    Raises:
        InputError: shapes that do not belong together.

    >>> import torch
    >>> scores, tags = torch.tensor([[2.0, -1.0], [1.0, 3.0]]), torch.tensor([[1, 0], [0, 1]])
    >>> found = tag_accuracy(scores, tags, ["cat", "cow"])
    >>> found.classes[0]
    ClassAccuracy(name='cat', photos=1, found=1, others=1, seen=1, ranked=1.0)
    >>> found.pairs
    (ToldApart(names=('cat', 'cow'), photos=2, right=2),)
    """
    if scores.shape != tags.shape or scores.ndim != 2 or scores.shape[1] != len(classes):
        raise InputError(
            f"scores {tuple(scores.shape)}, tags {tuple(tags.shape)} and {len(classes)} classes do not belong together"
        )
    scores, tags = scores.detach().float().cpu(), tags.cpu()
    has, lacks = tags > 0, tags == 0
    single = []
    for c, name in enumerate(classes):
        with_it, without = scores[has[:, c], c], scores[lacks[:, c], c]
        ahead = (with_it[:, None] - without[None, :]).sign().add(1).div(2)
        single.append(
            ClassAccuracy(
                name, len(with_it), int((with_it > 0).sum()), len(without), int((without > 0).sum()),
                float(ahead.mean()) if ahead.numel() else None,
            )
        )  # fmt: skip
    pairs = []
    for a in range(len(classes)):
        for b in range(a + 1, len(classes)):
            one = (has[:, a] & lacks[:, b]) | (lacks[:, a] & has[:, b])
            if one.any():
                right = (scores[one, a] > scores[one, b]) == has[one, a]
                pairs.append(ToldApart((classes[a], classes[b]), int(one.sum()), int(right.sum())))
    return TagAccuracy(tuple(single), tuple(pairs))
