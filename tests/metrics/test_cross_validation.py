"""Cross-validation of a choice: against brute force, and what a held-out photo can and cannot change."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from getam.errors import InputError
from getam.metrics.bootstrap import Bootstrap, difference_interval
from getam.metrics.confusion import ConfusionMatrix, confusion_matrix, hits_and_unions
from getam.metrics.cross_validation import chance_of, choose, cross_validated, folds_of

HOW = Bootstrap(resamples=200)


def masks(seed: int, photos: int, tried: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Predictions (T,N,4,4) and truths (N,4,4) of two classes."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, (photos, 4, 4))
    wrong = random.random((tried, photos, 4, 4)) < random.random((tried, photos, 1, 1))
    return np.where(wrong, random.integers(0, 3, wrong.shape), truth), truth


def counts_of(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.array(
        [[hits_and_unions(confusion_matrix(p, t, 2)) for p, t in zip(row, truth)] for row in predicted]
    )


def miou(predicted: np.ndarray, truth: np.ndarray) -> float:
    matrix = ConfusionMatrix(2)
    for p, t in zip(predicted, truth):
        matrix.update(p, t)
    return matrix.compute().miou


@pytest.mark.parametrize("photos", [2, 5, 9, 10, 23])
def test_it_is_what_brute_force_finds(photos: int) -> None:
    predicted, truth = masks(photos, photos)
    found = cross_validated(counts_of(predicted, truth), HOW)
    scored, chosen = [None] * photos, []
    for fold in folds_of(photos, HOW.seed):
        others = [n for n in range(photos) if n not in fold]
        by_hand = [miou(row[others], truth[others]) for row in predicted]
        chosen.append(by_hand.index(max(by_hand)))
        for photo in fold:
            scored[photo] = predicted[chosen[-1], photo]
    everywhere = [miou(row, truth) for row in predicted]
    assert found.by_fold == tuple(chosen)
    assert found.chosen == everywhere.index(max(everywhere))
    assert found.miou == pytest.approx(miou(np.array(scored), truth))
    assert found.seen_miou == pytest.approx(max(everywhere))
    assert found.default_miou == pytest.approx(everywhere[0])
    held = counts_of(np.array([scored]), truth)[0]
    assert found.interval == difference_interval(held, counts_of(predicted[:1], truth)[0], HOW)


@pytest.mark.parametrize(("photos", "folds"), [(2, 2), (9, 9), (10, 10), (47, 10)])
def test_every_photo_is_held_out_once_and_folds_are_even(photos: int, folds: int) -> None:
    dealt = folds_of(photos)
    assert len(dealt) == folds
    assert sorted(np.concatenate(dealt).tolist()) == list(range(photos))
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


@pytest.mark.parametrize("photos", [6, 14])
def test_the_truth_of_a_photo_never_decides_how_it_is_scored(photos: int) -> None:
    predicted, truth = masks(3, photos)
    before = cross_validated(counts_of(predicted, truth), HOW)
    changed = 0
    for place, fold in enumerate(folds_of(photos, HOW.seed)):
        for other in range(1, 3):
            spoilt = truth.copy()
            spoilt[fold] = (truth[fold] + other) % 3
            after = cross_validated(counts_of(predicted, spoilt), HOW)
            assert after.by_fold[place] == before.by_fold[place]
            changed += after.by_fold != before.by_fold
    assert changed  # the other folds do see it


def test_a_better_candidate_is_found_and_is_surely_better() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, (12, 4, 4))
    predicted = np.stack([np.zeros_like(truth), truth, np.full_like(truth, 2)])
    found = cross_validated(counts_of(predicted, truth), HOW)
    assert (found.chosen, set(found.by_fold), found.miou, found.better) == (1, {1}, 1.0, True)


def test_noise_is_not_better_though_the_best_of_many_looks_so() -> None:
    gains, honest, better = [], [], 0
    for seed in range(8):
        random = np.random.default_rng(seed)
        truth = random.integers(0, 3, (12, 4, 4))
        predicted = random.integers(0, 3, (20, 12, 4, 4))
        found = cross_validated(counts_of(predicted, truth), HOW)
        gains.append(found.seen_miou - found.default_miou)
        honest.append(found.miou - found.default_miou)
        assert found.miou <= found.seen_miou
        better += found.better
    assert better == 0
    assert min(gains) > 0
    assert np.mean(honest) < np.mean(gains) / 2


def test_what_is_noise_is_seldom_called_better_though_folds_agree() -> None:
    """Photos that like one level or another, none on the whole: neighbouring levels do alike, so all folds agree."""
    better = alone = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        likes, levels = random.normal(0, 0.1, 8), np.array([0, -2, -1, 1, 2])
        share = np.clip(0.6 + levels[:, None] * likes + random.normal(0, 0.01, (5, 8)), 0.05, 0.95)
        hits = (share * 1000).astype(np.int64)
        counts = np.stack([hits, np.full_like(hits, 1000)], -1)[..., None].repeat(2, -1)
        found = cross_validated(counts, HOW)
        assert found.interval is not None
        alone += found.interval[0] > 0
        better += found.better
    assert alone > 3  # of 60: the interval alone is wrong more often than in 5 % of cases
    assert better <= 3


def test_chance_is_counted_over_all_exchanges_of_photos() -> None:
    predicted, truth = masks(5, 5)
    predicted[0] = np.roll(predicted[0], 1, -1)  # a default that another beats
    counts = counts_of(predicted, truth)
    chosen = choose(counts)
    assert chosen
    gains = []
    for way in product((False, True), repeat=5):
        row = []
        for own in predicted[1:]:
            swap = np.array(way)[:, None, None]
            row.append(
                miou(np.where(swap, predicted[0], own), truth)
                - miou(np.where(swap, own, predicted[0]), truth)
            )
        gains.append(row)
    standard = np.array(gains) / np.sqrt(np.mean(np.square(gains), 0))
    assert chance_of(counts) == np.mean(standard.max(1) >= standard[0, chosen - 1] - 1e-9)


@pytest.mark.parametrize("photos", [6, 14])
def test_chance_is_small_of_what_is_better_everywhere_and_one_of_the_default(photos: int) -> None:
    truth = np.random.default_rng(0).integers(0, 3, (photos, 4, 4))
    counts = counts_of(np.stack([np.zeros_like(truth), truth]), truth)
    few = 2.0**-photos if photos < 10 else 1 / 2000
    assert chance_of(counts) == pytest.approx(few, abs=1e-3 if photos > 10 else 0)
    assert chance_of(counts[::-1].copy()) == 1
    assert chance_of(np.concatenate([counts[:1], counts[:1], counts[1:]])) == pytest.approx(few, abs=1e-3)


def test_the_default_wins_a_draw_and_where_nothing_is_scored() -> None:
    predicted, truth = masks(1, 4, tried=1)
    assert choose(counts_of(np.repeat(predicted, 3, 0), truth)) == 0
    nothing = cross_validated(np.zeros((3, 4, 2, 3), np.int64), HOW)
    assert (nothing.chosen, nothing.interval, nothing.better) == (0, None, False)


@pytest.mark.parametrize("shape", [(3, 1, 2, 3), (0, 4, 2, 3), (3, 4, 3, 3), (4, 2, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"\(T, N, 2, C\+1\) of at least two photos"):
        cross_validated(np.zeros(shape, np.int64), HOW)
