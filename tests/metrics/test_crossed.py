"""Each half of the photos is scored at the threshold that was best on the other half."""

import numpy as np
import pytest

from getam.errors import InputError
from getam.metrics.confusion import confusion_matrix, scores
from getam.metrics.crossed import CrossFitted
from getam.metrics.thresholds import ThresholdSweep

C = 2


def photos(count: int) -> list[tuple[np.ndarray, list[int], np.ndarray]]:
    random = np.random.default_rng(3)
    truth = random.choice([0, 1, 2, 255], (count, 9, 11), p=[0.5, 0.2, 0.2, 0.1])
    found = []
    for number, true in enumerate(truth):
        # the two halves want different thresholds
        strength = 0.35 if number % 2 else 0.75
        maps = np.stack([np.where(true == c, strength, 0.3) for c in (1, 2)]) + random.normal(
            0, 0.1, (2, 9, 11)
        )
        found.append((maps.clip(0, 1), [1, 2], true))
    return found


def miou_at(several: list, threshold: float) -> float:
    return scores(matrix_at(several, threshold)).miou


def matrix_at(several: list, threshold: float) -> np.ndarray:
    total = np.zeros((C + 1, C + 2), np.int64)
    for maps, _ids, truth in several:
        label = np.where(maps.max(0) >= threshold, maps.argmax(0) + 1, 0)
        total += confusion_matrix(label, truth, C)
    return total


def test_each_half_is_scored_at_the_best_threshold_of_the_other() -> None:
    several = photos(7)
    crossing = CrossFitted(C)
    for number, photo in enumerate(several):
        crossing.update(number, *photo)
    found = crossing.compute()

    halves = several[::2], several[1::2]
    grid = [step / 100 for step in range(1, 100)]
    best = [max(grid, key=lambda t, half=half: miou_at(half, t)) for half in halves]  # type: ignore[misc]
    assert best[0] != best[1]
    assert found.thresholds == (best[1], best[0])
    expected = scores(matrix_at(halves[0], best[1]) + matrix_at(halves[1], best[0]))
    assert found.scores == expected


def test_the_curve_is_that_of_all_photos() -> None:
    crossing, sweep = CrossFitted(C), ThresholdSweep(C)
    for number, photo in enumerate(photos(4)):
        crossing.update(number, *photo)
        sweep.update(*photo)
    found = crossing.compute()
    assert found.curve == sweep.compute()
    assert found.scores.miou <= found.curve.best[1].miou


def test_one_photo_cannot_be_judged_by_another() -> None:
    crossing = CrossFitted(C)
    crossing.update(0, *photos(1)[0])
    with pytest.raises(InputError, match="at least two photos"):
        crossing.compute()
