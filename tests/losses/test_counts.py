"""Means over what photos have unequally much of: two processes with other photos each average to one with all of them.

The processes are played, one after the other: the first time round their counts are written down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from getam.losses import bas, consensus, cross_entropy, domain
from getam.losses.adversarial import judgement_loss
from getam.losses.affinity import affinity_labels, affinity_loss
from getam.losses.boundary import boundary_losses
from getam.losses.classification import classification_loss
from getam.losses.counts import counted_by, divisor
from getam.losses.noisy_labels import progressive_noise_loss
from getam.losses.saliency import saliency_loss
from getam.losses.saliency_relation import saliency_relation_losses

SIDE, CLASSES = 6, 2
TAGS = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 0]])
KNOWN = torch.tensor([[True, True], [True, False], [True, True], [True, True]])
LABEL = torch.zeros(4, SIDE, SIDE, dtype=torch.int64)
LABEL[0, :2, :3], LABEL[1, 1:, 2:5], LABEL[2, :, :5] = 1, 2, 1
LABEL[0, 4:], LABEL[1, :, 0], LABEL[3] = (
    255,
    255,
    255,
)  # nothing is decided in the last, whose photo has no tag
ROI = torch.arange(SIDE)[:, None].expand(4, SIDE, SIDE) < torch.tensor([6, 5, 3, 0])[:, None, None]
SALIENCY = (LABEL % 255 > 0).float() * 0.9
TAGGED = TAGS.any(1)
TARGETS = TAGS.argmax(1)
PROTOTYPES, THERE = torch.eye(CLASSES, 4), torch.ones(CLASSES, dtype=torch.bool)

Loss = Callable[[Tensor, Tensor], Tensor]
MADE: dict[str, tuple[tuple[int, ...], Loss]] = {
    # of each photo, what is learned: its shape, and the loss of it and the photos' numbers
    "affinity": (
        (SIDE**2, SIDE**2),
        lambda x, at: affinity_loss(x.sigmoid(), affinity_labels(LABEL[at], (SIDE, SIDE), radius=2)),
    ),
    **{
        f"boundary {term}": ((SIDE, SIDE), lambda x, at, term=term: boundary_losses(x, LABEL[at], radius=3)[term])
        for term in range(3)
    },
    **{
        f"saliency relation {term}": (
            (CLASSES, 3, 3),
            lambda x, at, term=term: saliency_relation_losses(x, SALIENCY[at], ROI[at], TAGS[at])[term],
        )
        for term in range(3)
    },
    "noisy labels": (
        (1 + CLASSES, SIDE, SIDE),
        lambda x, at: progressive_noise_loss(x, LABEL[at], 1.5, always=(2,)),
    ),
    "judgement": ((SIDE, SIDE), lambda x, at: judgement_loss(x, ROI[at], real=True)),
    "bas suppression": (
        (CLASSES,),
        lambda x, at: bas.suppression_loss(
            x[TAGGED[at], 0].sigmoid(), torch.full((int(TAGGED[at].sum()), CLASSES), 2.0), TARGETS[at][TAGGED[at]]
        ),
    ),
    "bas area": ((SIDE, SIDE), lambda x, at: bas.area_loss(x.sigmoid()[TAGGED[at]])),
    "bas foreground": (
        (CLASSES, SIDE, SIDE),
        lambda x, at: bas.foreground_loss(1 + x[TAGGED[at]], x[:, 0].sigmoid()[TAGGED[at]], TARGETS[at][TAGGED[at]]),
    ),
    "prototypes": (
        (4,),
        lambda x, at: domain.prototype_alignment(
            F.normalize(x, dim=1), torch.where(TAGGED, TARGETS, -1)[at], PROTOTYPES, THERE
        ),
    ),
    "foreground": (
        (1 + CLASSES, SIDE, SIDE), lambda x, at: cross_entropy.foreground_background_loss(x, LABEL[at])[0]
    ),
    "background": (
        (1 + CLASSES, SIDE, SIDE), lambda x, at: cross_entropy.foreground_background_loss(x, LABEL[at])[1]
    ),
    "pixels": ((1 + CLASSES, SIDE, SIDE), lambda x, at: cross_entropy.pixel_loss(x, LABEL[at], 0.5)),
    "partial labels": (
        (1 + CLASSES, SIDE, SIDE),
        lambda x, at: cross_entropy.pixel_loss(x, LABEL[at], partial=(TAGS[at] > 0, ROI[at])),
    ),
    "saliency": ((1 + CLASSES, SIDE, SIDE), lambda x, at: saliency_loss(x, SALIENCY[at], ROI[at])),
    "tags": ((CLASSES,), lambda x, at: classification_loss(x, TAGS[at], KNOWN[at])),
    "soft labels": (
        (1 + CLASSES, SIDE, SIDE),
        lambda x, at: consensus.soft_cross_entropy(x, LABEL[at], SALIENCY[at], TAGS[at]),
    ),
    "consensus": (
        (1 + CLASSES, SIDE, SIDE), lambda x, at: consensus.consensus_loss(x, x.roll(1, 3), LABEL[at])
    ),
}  # fmt: skip


def learned(name: str, mean: Any, photos: list[int], among: int) -> tuple[Tensor, Tensor]:
    """The loss of those photos, and its gradient in what belongs to all of them."""
    shape, loss = MADE[name]
    all_of_them = torch.randn(4, *shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
    with counted_by(mean, among):
        found = loss(all_of_them[photos], torch.tensor(photos))
    found.backward()
    assert all_of_them.grad is not None
    return found.detach(), all_of_them.grad


@pytest.mark.parametrize("shares", [([0, 1], [2, 3]), ([0, 1, 2], [3])], ids=("unlike", "nothing to count"))
@pytest.mark.parametrize("name", MADE)
def test_two_processes_average_to_one_with_all_photos(name: str, shares: tuple[list[int], list[int]]) -> None:
    counts: tuple[list[Tensor], list[Tensor]] = ([], [])
    for photos, its in zip(shares, counts):
        learned(name, lambda count, its=its: (its.append(count), count)[1], photos, 2)
    assert len(counts[0]) == len(counts[1])  # or processes wait for each other for ever
    assert counts[0] != counts[1]
    means = [(one.double() + other) / 2 for one, other in zip(*counts)]
    dealt = []
    for photos in shares:
        left = iter(means)
        dealt.append(learned(name, lambda count, left=left: next(left), photos, 2))
    loss, gradient = learned(name, lambda count: count, [0, 1, 2, 3], 1)
    assert gradient.any()
    torch.testing.assert_close((dealt[0][0] + dealt[1][0]) / 2, loss)
    torch.testing.assert_close((dealt[0][1] + dealt[1][1]) / 2, gradient)


def test_one_process_counts_as_if_alone() -> None:
    for count in (0, 1, 7):
        for beside in (0, 1):
            alone = divisor(torch.tensor(count), beside)
            with counted_by(lambda count: count):
                assert torch.equal(divisor(torch.tensor(count), beside), alone)
            assert alone == max(1, count + beside)
