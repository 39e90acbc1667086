"""Photos held out: shares of every class counted, the same whatever the order, never more than is needed to judge."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from getam.data.collection import Collection, Sample
from getam.data.hold_out import HELD_OUT, divided
from getam.errors import InputError

CLASSES = ("cat", "cow", "dog")


def collection(tags: list[tuple[str, ...]]) -> Collection:
    samples = tuple(Sample(f"p{n}", Path(f"p{n}.jpg"), its) for n, its in enumerate(tags))
    return Collection(CLASSES, samples, split="train")


def names(its: Collection) -> list[str]:
    return [sample.name for sample in its.samples]


@settings(max_examples=50, deadline=None)
@given(
    tags=st.lists(
        st.lists(st.sampled_from(CLASSES), unique=True, max_size=3).map(tuple), min_size=40, max_size=120
    ),
    share=st.sampled_from([0.1, 0.25, 0.5]),
)
def test_every_class_gives_its_share_and_keeps_half(tags: list[tuple[str, ...]], share: float) -> None:
    whole = collection(tags)
    kept, held = divided(whole, share)
    assert sorted([*names(kept), *names(held)]) == sorted(names(whole))
    assert [n for n in names(whole) if n in set(names(kept))] == names(kept)
    assert [n for n in names(whole) if n in set(names(held))] == names(held)
    assert (kept.classes, kept.split, held.classes, held.split) == (CLASSES, "train", CLASSES, "train")
    for name in CLASSES:
        its = [sample.name for sample in whole.samples if name in sample.tags]
        assert len(set(its) & set(names(held))) <= len(its) // 2
        if share == 0.1:  # so small a share is never in the way of another class's
            assert len(set(its) & set(names(held))) >= min(round(0.1 * len(its)), len(its) // 2) - 1


def test_a_single_class_gives_exactly_its_share_in_the_order_of_the_hashes() -> None:
    whole = collection([("cat",)] * 50)
    _, held = divided(whole, 0.1)
    drawn = sorted(names(whole), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert set(names(held)) == set(drawn[:5])
    shuffled = list(whole.samples)
    random.Random(0).shuffle(shuffled)
    _, again = divided(Collection(CLASSES, tuple(shuffled)), 0.1)
    assert set(names(again)) == set(names(held))


def test_photos_without_tags_give_theirs() -> None:
    _, held = divided(collection([()] * 30 + [("cat",)] * 30), 0.2)
    assert sorted(len(sample.tags) for sample in held.samples) == [0] * 6 + [1] * 6


def test_a_rare_class_comes_first_and_what_it_gave_counts_for_the_others() -> None:
    _, held = divided(collection([("cat", "cow")] * 10 + [("cow",)] * 40), 0.5)
    assert sum("cat" in sample.tags for sample in held.samples) == 5
    assert sum("cow" in sample.tags for sample in held.samples) == 25
    _, held = divided(collection([("cat", "cow")] * 10 + [("cow",)] * 40), 0.1)
    assert len(held.samples) == 5  # those the rare class gave count
    assert any("cat" in sample.tags for sample in held.samples)


@pytest.mark.parametrize(
    ("photos", "share", "expected"), [(39, 0.5, 0), (40, 0.1, 4), (60, 0.0, 0), (5000, 0.1, 100)]
)
def test_few_photos_are_all_trained_on_and_a_hundred_are_enough(
    photos: int, share: float, expected: int
) -> None:
    whole = collection([("cat",)] * photos)
    kept, held = divided(whole, share)
    assert (len(kept.samples), len(held.samples)) == (photos - expected, expected)
    assert HELD_OUT == 0.1


@pytest.mark.parametrize("share", [-0.1, 0.51, 1.0])
def test_a_share_that_cannot_be_is_refused(share: float) -> None:
    with pytest.raises(InputError, match=rf"{share:g} of the photos cannot be held out"):
        divided(collection([("cat",)] * 50), share)
