"""Iterative stratification: exact where it can be, near the shares where it cannot, and better than chance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from getam.data.stratify import stratified


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(2, 80),
    st.integers(1, 6),
    st.sampled_from([(0.5, 0.5), (0.8, 0.2), (0.7, 0.2, 0.1)]),
)
def test_every_photo_has_one_part_and_rare_classes_are_shared(
    seed: int, photos: int, classes: int, shares: tuple[float, ...]
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.random((photos, classes)) < rng.random(classes)
    parts = stratified(labels, shares, rng)
    assert parts.shape == (photos,)
    assert set(parts.tolist()) <= set(range(len(shares)))
    single = labels[:, :1]
    parts = stratified(single, shares, rng)
    for part, share in enumerate(
        shares
    ):  # one class: it and its absence are dealt out to within one photo a part
        assert abs((single[:, 0] & (parts == part)).sum() - share * single.sum()) <= 1
        assert abs((parts == part).sum() - share * photos) <= len(shares)


def test_better_than_chance() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((200, 12)) < 0.06

    def error(parts: np.ndarray) -> float:
        return float(np.abs(labels[parts == 1].sum(0) - 0.2 * labels.sum(0)).sum())

    chance = [error((rng.random(200) < 0.2).astype(int)) for _ in range(50)]
    assert error(stratified(labels, (0.8, 0.2), rng)) < min(chance)


def test_a_step_by_hand() -> None:
    """Class 1 has two photos and comes first: one each; photo 0's class 0 counts against its part."""
    labels = np.array([[1, 1], [1, 0], [0, 1], [1, 0]], bool)
    for seed in range(8):
        parts = stratified(labels, (0.5, 0.5), np.random.default_rng(seed))
        assert parts[0] != parts[2]
        assert (parts == 0).sum() == 2
        assert sorted(labels[parts == 0].sum(0)) in ([1, 1], [1, 2])


def test_chance_decides_between_equals_and_is_the_given_one() -> None:
    labels = np.ones((2, 1), bool)
    seen = {tuple(stratified(labels, (0.5, 0.5), np.random.default_rng(seed))) for seed in range(20)}
    assert seen == {(0, 1), (1, 0)}
    again = [
        stratified(np.eye(9, dtype=bool), (0.6, 0.4), np.random.default_rng(5)).tolist() for _ in range(2)
    ]
    assert again[0] == again[1]


@pytest.mark.parametrize("classes", [0, 1])
def test_photos_without_a_class_fill_what_lacks(classes: int) -> None:
    parts = stratified(np.zeros((10, classes), bool), (0.7, 0.3), np.random.default_rng(0))
    assert (parts == 0).sum() == 7
