"""Outlines are matched within a tolerance; the oracle measures every pair of outline pixels."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from getam.errors import InputError
from getam.metrics.boundary import BoundaryScore, boundary_match, harmonic_mean, outline, tolerance_pixels

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)


def labels(shape: tuple[int, ...]) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 1, 1, 2, 255]))


PAIRS = SHAPES.flatmap(lambda shape: st.tuples(labels(shape), labels(shape)))


def outline_slowly(label: np.ndarray, wanted: int) -> list[tuple[int, int]]:
    height, width = label.shape
    found = []
    for y in range(height):
        for x in range(width):
            beside = [(y, x - 1), (y, x + 1), (y - 1, x), (y + 1, x)]
            inside = [(v, u) for v, u in beside if 0 <= v < height and 0 <= u < width]
            if label[y, x] == wanted and any(label[place] != wanted for place in inside):
                found.append((y, x))
    return found


def match_slowly(
    prediction: np.ndarray, truth: np.ndarray, label: int, radius: float
) -> tuple[float, float] | None:
    predicted, true = outline_slowly(prediction, label), outline_slowly(truth, label)
    counted = [place for place in predicted if truth[place] != 255]
    if not counted and not true:
        return None
    near = [any(math.dist(p, t) <= radius for t in true) for p in counted]
    found = [any(math.dist(p, t) <= radius for p in predicted) for t in true]
    return (sum(near) / len(near) if near else 1.0), (sum(found) / len(found) if found else 1.0)


@settings(max_examples=150, deadline=None)
@given(pair=PAIRS, radius=st.sampled_from([0, 1, 1.5, 2, 3]))
def test_agrees_with_all_pairs_of_pixels(pair: tuple[np.ndarray, np.ndarray], radius: float) -> None:
    for label in (1, 2):
        expected = match_slowly(*pair, label, radius)
        assert boundary_match(*pair, label, radius) == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(PAIRS, min_size=1, max_size=4))
def test_means_over_photos_then_over_classes(pairs: list) -> None:
    score = BoundaryScore(classes=3)
    expected: dict[int, list[tuple[float, float, float]]] = {}
    for prediction, truth in pairs:
        score.update(prediction, truth)
        for label in (1, 2):
            match = match_slowly(prediction, truth, label, tolerance_pixels(truth.shape))
            if match is not None:
                p, r = match
                expected.setdefault(label, []).append((p, r, 2 * p * r / (p + r) if p + r else 0.0))
    found = score.compute()
    if not expected:
        assert math.isnan(found.f)
        return
    means = [np.mean(values, axis=0) for values in expected.values()]
    np.testing.assert_allclose((found.precision, found.recall, found.f), np.mean(means, axis=0))
    assert math.isnan(found.f_per_class[2])


def test_the_frame_is_no_outline() -> None:
    assert not outline(np.ones((4, 5), bool)).any()


def test_a_shifted_square_within_and_beyond_the_tolerance() -> None:
    truth, prediction = np.zeros((30, 30), np.uint8), np.zeros((30, 30), np.uint8)
    truth[10:20, 10:20] = 1
    prediction[12:22, 10:20] = 1
    assert boundary_match(prediction, truth, 1, 2) == (1, 1)
    precision, recall = boundary_match(prediction, truth, 1, 1) or (0, 0)
    assert 0 < precision == recall < 1


def test_outline_in_a_band_of_255_counts_for_and_not_against() -> None:
    truth = np.zeros((9, 20), np.uint8)
    truth[:, :8], truth[:, 8:12] = 1, 255
    inside_band = np.zeros_like(truth)
    inside_band[:, :9] = 1
    assert boundary_match(inside_band, truth, 1, 1) == (1, 1)
    far_inside_band = np.zeros_like(truth)
    far_inside_band[:, :12] = 1
    assert boundary_match(far_inside_band, truth, 1, 1) == (1, 0)


def test_a_class_painted_only_where_nobody_knows_does_not_occur() -> None:
    truth = np.zeros((9, 20), np.uint8)
    truth[:, :8], truth[:, 8:] = 1, 255
    prediction = np.zeros_like(truth)
    prediction[:, :4] = 1
    prediction[2:6, 10:15] = 2  # absent from the truth, inside 255
    assert boundary_match(prediction, truth, 2, 1) is None
    score = BoundaryScore(classes=2)
    score.update(prediction, truth)
    found = score.compute()
    assert math.isnan(found.f_per_class[1])
    assert (found.precision, found.recall, found.f) == (0, 0, 0)  # class 1's alone, no 1.0 beside them


@pytest.mark.filterwarnings("error")
def test_nothing_that_could_be_scored_is_nan_everywhere() -> None:
    score = BoundaryScore(classes=2)
    score.update(np.array([[0, 1, 0]]), np.array([[255, 255, 255]]))
    found = score.compute()
    assert np.isnan([found.precision, found.recall, found.f, *found.f_per_class]).all()


def test_an_undecided_prediction_ends_a_region() -> None:
    truth = np.zeros((6, 9), np.uint8)
    truth[:, :4] = 1
    prediction = np.where(truth == 1, 1, 255)
    assert boundary_match(prediction, truth, 1, 0) == (1, 1)


def test_an_outline_alone_has_f_zero() -> None:
    square = np.zeros((6, 6), np.uint8)
    square[2:4, 2:4] = 1
    for pair in ((square, np.zeros_like(square)), (np.zeros_like(square), square)):
        score = BoundaryScore(classes=1)
        score.update(*pair)
        assert score.compute().f == 0


def test_the_tolerance_is_a_share_of_the_diagonal() -> None:
    assert tolerance_pixels((300, 400)) == math.ceil(0.0075 * 500) == 4
    assert tolerance_pixels((300, 400), 0.01) == 5


def test_the_tolerance_that_is_given_counts() -> None:
    truth, prediction = np.zeros((30, 40), np.uint8), np.zeros((30, 40), np.uint8)
    truth[5:20, 5:20], prediction[5:20, 8:23] = 1, 1  # 3 pixels of a diagonal of 50
    found = []
    for tolerance in (0.0401, 0.06):
        score = BoundaryScore(1, tolerance)
        score.update(prediction, truth)
        found.append(score.compute().f)
    assert found[0] == found[1] == 1
    score = BoundaryScore(1)
    score.update(prediction, truth)
    assert score.compute().f < 1


def test_scores_are_plain_numbers() -> None:
    score = BoundaryScore(1)
    score.update([[0, 1]], [[0, 1]])
    assert score.compute().f == 1
    assert {type(value) for value in (*vars(score.compute()).values(), *score.compute().f_per_class)} == {
        float,
        tuple,
    }


def test_f_is_the_harmonic_mean() -> None:
    assert harmonic_mean(0.5, 1) == pytest.approx(2 / 3)
    assert harmonic_mean(0, 1) == harmonic_mean(0, 0) == 0
    assert harmonic_mean(0.3, 0.3) == pytest.approx(0.3)


def test_what_does_not_fit_is_an_error() -> None:
    with pytest.raises(InputError, match=r"the prediction is \(2, 3\) but the truth is \(3, 2\)"):
        boundary_match(np.zeros((2, 3), int), np.zeros((3, 2), int), 1, 1)
    with pytest.raises(InputError, match="label 4 is beyond the 2 classes"):
        BoundaryScore(classes=2).update(np.full((2, 2), 4), np.zeros((2, 2), int))
    with pytest.raises(InputError, match=r"label 3 is beyond the 2 classes"):
        BoundaryScore(classes=2).update(np.zeros((2, 2), int), np.full((2, 2), 3))
    with pytest.raises(InputError, match="label -1 is beyond"):
        BoundaryScore(classes=2).update(np.full((2, 2), -1), np.zeros((2, 2), int))
    with pytest.raises(InputError, match=r"the prediction is \(2, 2\) but the truth is \(2, 3\)"):
        BoundaryScore(classes=2).update(np.zeros((2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(InputError, match=r"both must be \(H, W\)"):
        boundary_match(np.zeros((1, 2, 2), int), np.zeros((1, 2, 2), int), 1, 1)
