"""Intervals over photos are held against resampling in plain Python, against scipy, and against what they promise."""

import math
import random
from collections.abc import Sequence
from dataclasses import asdict
from statistics import quantiles

import numpy as np
import pytest
from scipy import stats

from getam.errors import InputError
from getam.metrics import bootstrap
from getam.metrics.bootstrap import (
    DEFAULT,
    Bootstrap,
    difference_interval,
    interval,
    mean_interval,
    resampled_miou,
)
from getam.metrics.confusion import ConfusionMatrix, confusion_matrix, hits_and_unions, mean_iou

C = 3
Pair = tuple[np.ndarray, np.ndarray]


def photos(count: int, *, right: float = 0.7, seed: int = 0) -> list[Pair]:
    """(prediction, truth) of photos with background and one or two of three classes, the last of them rare."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        present = [0, 1 + number % 2] if number else [0, 3]
        truth = generator.choice([*present, 255], (6, 7), p=[0.5, 0.4, 0.1])
        said = generator.choice([*present, 255], (6, 7), p=[0.5, 0.4, 0.1])
        trust = right * generator.random()
        found.append((np.where(generator.random((6, 7)) < trust, truth, said), truth))
    return found


def counts_of(pairs: Sequence[Pair]) -> np.ndarray:
    return np.stack([hits_and_unions(confusion_matrix(*pair, C)) for pair in pairs])


def miou_of(pairs: Sequence[Pair]) -> float:
    matrix = ConfusionMatrix(C)
    for pair in pairs:
        matrix.update(*pair)
    return matrix.compute().miou


def percentiles_slowly(values: list[float], level: float) -> tuple[float, float]:
    """Of sorted values, where the first has rank 0 and the last rank 1, linear in between."""
    values = sorted(values)

    def at(share: float) -> float:
        rank = share * (len(values) - 1)
        low = math.floor(rank)
        high = min(low + 1, len(values) - 1)
        return values[low] + (rank - low) * (values[high] - values[low])

    return at((1 - level) / 2), at(1 - (1 - level) / 2)


def test_the_point_estimate_is_that_of_the_confusion_matrix() -> None:
    for count in (1, 2, 9):
        pairs = photos(count)
        assert float(mean_iou(counts_of(pairs).sum(0))) == miou_of(pairs)


def test_every_resample_is_a_confusion_matrix_of_the_drawn_photos() -> None:
    pairs, how = photos(5), Bootstrap(resamples=60, seed=4)
    drawn = np.random.default_rng(4).integers(0, 5, (60, 5)).tolist()
    expected = [miou_of([pairs[place] for place in places]) for places in drawn]
    assert any(
        0 not in places for places in drawn
    )  # then class 3 occurs in no photo, and its IoU is left out
    found = resampled_miou(counts_of(pairs), how)
    np.testing.assert_array_equal(found, expected)
    assert interval(counts_of(pairs), how) == pytest.approx(percentiles_slowly(expected, 0.95), abs=1e-12)


def test_parts_draw_what_the_whole_would(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, how = counts_of(photos(7)), Bootstrap(resamples=50)
    whole = resampled_miou(counts, how)
    for at_once in (1, 20, 7 * 50):
        monkeypatch.setattr(bootstrap, "AT_ONCE", at_once)
        np.testing.assert_array_equal(resampled_miou(counts, how), whole)
    assert len(whole) == 50
    assert len(set(whole.tolist())) > 25


def test_agrees_with_resampling_in_plain_python() -> None:
    pairs, how = photos(12), Bootstrap(resamples=4000)
    dice = random.Random(1)
    values = [miou_of(dice.choices(pairs, k=len(pairs))) for _ in range(1500)]
    cuts = quantiles(values, n=40, method="inclusive")
    spread = cuts[-1] - cuts[0]
    assert interval(counts_of(pairs), how) == pytest.approx((cuts[0], cuts[-1]), abs=0.1 * spread)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_agrees_with_scipy(level: float) -> None:
    ours, theirs = counts_of(photos(15, right=0.9)), counts_of(photos(15, right=0.6, seed=2))
    how = Bootstrap(resamples=700, level=level, seed=11)

    def expected(statistic: object) -> tuple[float, float]:
        found = stats.bootstrap(
            (np.arange(15),), statistic, n_resamples=700, confidence_level=level, method="percentile",
            vectorized=False, random_state=np.random.default_rng(11),
        )  # fmt: skip
        return tuple(found.confidence_interval)

    miou = lambda counts, places: float(mean_iou(counts[places].sum(0)))  # noqa: E731
    assert interval(ours, how) == pytest.approx(expected(lambda places: miou(ours, places)))
    assert difference_interval(ours, theirs, how) == pytest.approx(
        expected(lambda places: miou(ours, places) - miou(theirs, places))
    )


def test_ninety_five_per_cent_of_the_intervals_hold_the_truth() -> None:
    """Photos with an IoU of their own around 0.7, where the mIoU of endlessly many photos is known."""
    generator, how = np.random.default_rng(0), Bootstrap(resamples=400)
    held = narrow = 0
    for _ in range(300):
        unions = generator.integers(50, 150, (80, 1, 2))
        hits = unions * generator.beta(
            7, 3, unions.shape
        )  # independent of the size: the ratio of sums tends to 0.7
        low, high = interval(np.concatenate([hits, unions], axis=1), how) or (0, 0)
        held += low <= 0.7 <= high
        narrow += high - low < 0.1
    assert 0.91 <= held / 300 <= 0.985
    assert narrow == 300


def test_photos_that_are_hard_for_both_cancel_out() -> None:
    """One system is better by a little on every photo: no doubt about the difference, much about each mIoU."""
    generator = np.random.default_rng(0)
    unions = np.full((40, 1, 2), 1000)
    hits = generator.integers(100, 800, unions.shape)
    theirs = np.concatenate([hits, unions], axis=1)
    ours = np.concatenate([hits + 20, unions], axis=1)
    assert difference_interval(ours, theirs) == pytest.approx((0.02, 0.02))
    assert difference_interval(theirs, ours) == pytest.approx((-0.02, -0.02))
    low, high = interval(ours) or (0, 0)
    assert high - low > 0.05


def test_a_higher_level_is_wider_and_a_seed_repeats() -> None:
    counts = counts_of(photos(20))
    wide, narrow = interval(counts, Bootstrap(level=0.99)), interval(counts, Bootstrap(level=0.5))
    assert wide is not None
    assert narrow is not None
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert interval(counts) == interval(counts, Bootstrap(resamples=2000, level=0.95, seed=0))
    assert interval(counts) != interval(counts, Bootstrap(seed=1))
    assert difference_interval(counts, counts) == (0, 0)


def test_the_record_says_how_intervals_are_made() -> None:
    assert asdict(DEFAULT) == {
        "method": "percentile bootstrap over photos", "resamples": 2000, "level": 0.95, "seed": 0,
    }  # fmt: skip


def test_one_photo_or_nothing_scored_has_no_interval() -> None:
    one = counts_of(photos(1))
    assert interval(one) is None
    assert difference_interval(one, one) is None
    nothing = np.zeros((3, 2, C + 1), int)
    assert interval(nothing) is None
    assert difference_interval(nothing, nothing) is None


def test_resamples_without_a_scored_pixel_are_left_out() -> None:
    counts = np.zeros((2, 2, C + 1), int)
    counts[0, :, 1] = 3, 4
    assert np.isnan(resampled_miou(counts)).any()
    assert interval(counts) == (0.75, 0.75)


def test_what_does_not_fit_is_an_error() -> None:
    counts = counts_of(photos(3))
    with pytest.raises(InputError, match=r"\(3, 2, 4\) and \(2, 2, 4\): a difference needs two systems"):
        difference_interval(counts, counts[:2])
    for bad in (counts[:, 0], counts[:, :1], counts[:0]):
        with pytest.raises(InputError, match=r"must be \(N, 2, C\+1\) of at least one photo"):
            resampled_miou(bad)
    for options in ({"resamples": 0}, {"level": 0.0}, {"level": 1.0}, {"level": 95}):
        with pytest.raises(InputError, match="a level between 0 and 1"):
            Bootstrap(**options)


def test_the_interval_of_a_mean_is_scipys() -> None:
    values = np.random.default_rng(3).normal(size=60)
    found = mean_interval([[value] for value in values], Bootstrap(resamples=20_000))
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", random_state=1)
    assert found == pytest.approx(theirs.confidence_interval, abs=0.01)


def test_numbers_of_one_photo_are_drawn_together() -> None:
    """Drawn by themselves, the ten ones and ten zeros would have an interval half as wide or less."""
    ones, zeros = [1.0] * 10, [0.0] * 10
    together = mean_interval([ones, zeros])
    assert together == (0, 1)
    apart = mean_interval([[value] for value in (*ones, *zeros)])
    assert apart is not None
    assert apart[1] - apart[0] < 0.5


def test_a_photo_counts_as_often_as_it_has_numbers() -> None:
    """Two photos: the mean of a draw is of the first, of the second, or of all four numbers."""
    found = mean_interval([[0.0], [1.0, 1.0, 1.0]], Bootstrap(level=0.2))
    assert found == (0.75, 0.75)


def test_no_interval_of_a_mean_where_nothing_varies_or_is_there() -> None:
    assert mean_interval([[0.5, 0.7]]) is None
    assert mean_interval([[], []]) is None
    assert mean_interval([[], [0.25]]) == (0.25, 0.25)  # draws of none leave no number
