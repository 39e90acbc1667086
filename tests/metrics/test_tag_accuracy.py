"""What a classifier has learned, against counting in loops and scikit-learn's area under the curve."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from getam.errors import InputError
from getam.metrics.tag_accuracy import ClassAccuracy, TagAccuracy, ToldApart, tag_accuracy

NAMES = ("cat", "cow", "dog")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_counts_are_those_of_loops(seed: int, photos: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-3, 4, (photos, 3), generator=generator).float()
    tags = torch.randint(0, 2, (photos, 3), generator=generator)
    found = tag_accuracy(scores, tags, NAMES)
    for c, one in enumerate(found.classes):
        having = [n for n in range(photos) if tags[n, c]]
        lacking = [n for n in range(photos) if not tags[n, c]]
        assert one.name == NAMES[c]
        assert (one.photos, one.others) == (len(having), len(lacking))
        assert one.found == sum(scores[n, c] > 0 for n in having)
        assert one.seen == sum(scores[n, c] > 0 for n in lacking)
        expected = roc_auc_score(tags[:, c], scores[:, c]) if having and lacking else None
        assert one.ranked == (None if expected is None else pytest.approx(expected))
    pairs = {pair.names: pair for pair in found.pairs}
    for a in range(3):
        for b in range(a + 1, 3):
            one = [n for n in range(photos) if tags[n, a] != tags[n, b]]
            if not one:
                assert (NAMES[a], NAMES[b]) not in pairs
                continue
            pair = pairs[NAMES[a], NAMES[b]]
            right = sum(
                scores[n, a] > scores[n, b] if tags[n, a] else not scores[n, a] > scores[n, b] for n in one
            )
            assert (pair.photos, pair.right) == (len(one), right)


def accuracy(
    *, photos: int = 10, others: int = 10, ranked: float | None = 1.0, right: int = 10
) -> TagAccuracy:
    return TagAccuracy(
        (ClassAccuracy("cow", photos, 0, others, 0, ranked),), (ToldApart(("cow", "sheep"), 10, right),)
    )


def test_what_is_not_learned_is_said() -> None:
    assert accuracy(right=8).doubts() == []
    assert accuracy(right=6).doubts() == ["cow and sheep are told apart in 6 of 10 photos"]
    [said] = accuracy(ranked=0.79).doubts()
    assert said == (
        "cow is hardly told from its absence: a photo of it scores higher than one without in 79% of the pairs"
    )
    assert accuracy(ranked=0.8).doubts() == []
    assert accuracy(ranked=0.1, photos=3).doubts() == []
    assert accuracy(ranked=0.1, others=3).doubts() == []
    assert len(accuracy(ranked=0.1, photos=4, others=4).doubts()) == 1
    assert accuracy(ranked=None).doubts() == []
    assert TagAccuracy((), (ToldApart(("a", "b"), 3, 0),)).doubts() == []
    assert len(TagAccuracy((), (ToldApart(("a", "b"), 4, 3),)).doubts()) == 1


def test_the_mean_leaves_out_what_is_not_known() -> None:
    found = TagAccuracy(tuple(ClassAccuracy("x", 1, 0, 1, 0, r) for r in (0.5, None, 1.0)), ())
    assert found.mean_ranked == 0.75
    assert accuracy(ranked=None).mean_ranked is None


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    for scores, tags, names in (
        (torch.zeros(2, 3), torch.zeros(2, 2), NAMES), (torch.zeros(2, 3), torch.zeros(2, 3), NAMES[:2]),
        (torch.zeros(3), torch.zeros(3), NAMES),
    ):  # fmt: skip
        with pytest.raises(InputError, match=r"do not belong together"):
            tag_accuracy(scores, tags, names)
