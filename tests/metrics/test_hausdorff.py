"""HD95 against every pair of outline pixels, one by one, and SciPy's own Hausdorff distance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import directed_hausdorff

from getam.errors import InputError
from getam.metrics import hausdorff
from getam.metrics.hausdorff import HausdorffScore, hausdorff95

LABELS = arrays(np.uint8, (6, 8), elements=st.sampled_from([0, 1, 2, 255]))


def outline_of(label: np.ndarray, number: int) -> list[tuple[int, int]]:
    height, width = label.shape
    found = []
    for y in range(height):
        for x in range(width):
            beside = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            inside = all(0 <= v < height and 0 <= u < width and label[v, u] == number for v, u in beside)
            if label[y, x] == number and not inside:
                found.append((y, x))
    return found


def by_pairs(prediction: np.ndarray, truth: np.ndarray, number: int) -> float | None:
    said, true = outline_of(prediction, number), outline_of(truth, number)
    counted = [(y, x) for y, x in said if truth[y, x] != 255]
    if not true and not counted:
        return None
    if not true or not said:
        return math.hypot(*truth.shape)
    far = [
        np.percentile([min(math.dist(a, b) for b in others) for a in points], 95) if points else 0.0
        for points, others in ((counted, true), (true, said))
    ]
    return float(max(far))


@settings(max_examples=60, deadline=None)
@given(LABELS, LABELS)
def test_it_is_that_of_all_pairs(prediction: np.ndarray, truth: np.ndarray) -> None:
    for number in (1, 2):
        expected = by_pairs(prediction, truth, number)
        found = hausdorff95(prediction, truth, number)
        assert found == (None if expected is None else pytest.approx(expected))


def test_at_a_hundred_percent_it_is_hausdorffs_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hausdorff, "PERCENTILE", 100)
    random = np.random.default_rng(3)
    prediction, truth = (random.integers(0, 2, (12, 15)).astype(np.uint8) for _ in range(2))
    a, b = np.array(outline_of(prediction, 1)), np.array(outline_of(truth, 1))
    expected = max(directed_hausdorff(a, b)[0], directed_hausdorff(b, a)[0])
    assert hausdorff95(prediction, truth, 1) == pytest.approx(expected)


def test_a_speck_does_not_count_until_it_is_a_twentieth() -> None:
    truth = np.zeros((40, 60), np.uint8)
    truth[10:30, 10:30] = 1  # an outline of 76 pixels
    prediction = truth.copy()
    prediction[35, 55] = 1
    assert hausdorff95(prediction, truth, 1) == 0
    prediction[35:38, 50:56] = 1
    far = hausdorff95(prediction, truth, 1)
    assert far is not None
    assert far > 20
    assert far == hausdorff95(truth, prediction, 1)


def test_of_a_class_that_one_lacks_it_is_the_diagonal() -> None:
    some, none = np.zeros((30, 40), np.uint8), np.zeros((30, 40), np.uint8)
    some[3:9, 3:9] = 1
    assert hausdorff95(some, none, 1) == hausdorff95(none, some, 1) == 50
    assert hausdorff95(none, none, 1) is None
    assert hausdorff95(some, np.full((30, 40), 255, np.uint8), 1) is None


def test_a_class_that_fills_the_photo_ends_at_its_frame() -> None:
    whole, inner = np.ones((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    inner[2:18, 2:18] = 1
    found = hausdorff95(whole, inner, 1)
    assert found is not None
    assert 2 <= found < 3
    assert hausdorff95(whole, whole, 1) == 0


def test_the_score_is_a_mean_over_photos_then_over_classes() -> None:
    a, b = np.zeros((30, 40), np.uint8), np.zeros((30, 40), np.uint8)
    a[5:9, 5:9] = 1
    b[5:9, 7:11], b[20:24, 20:24] = 1, 2
    score = HausdorffScore(3)
    score.update(a, a)
    score.update(a, b)
    found = score.compute()
    assert found.per_class[:2] == (1.0, 50.0)
    assert math.isnan(found.per_class[2])
    assert found.mean == 25.5
    assert math.isnan(HausdorffScore(1).compute().mean)


def test_long_class_lists_and_labels_beyond_them() -> None:
    score = HausdorffScore(300)
    label = np.zeros((8, 8), np.uint16)
    label[2:5, 2:5], label[7] = 255, 65535  # a class, and undecided
    score.update(label, label)
    assert score.compute().per_class[254] == 0
    with pytest.raises(InputError, match="label 301 is beyond the 300 classes"):
        score.update(label, np.full((8, 8), 301, np.uint16))
    with pytest.raises(InputError, match=r"the prediction is \(2, 2\) but the truth is \(2, 3\)"):
        hausdorff95(np.zeros((2, 2), int), np.zeros((2, 3), int), 1)
