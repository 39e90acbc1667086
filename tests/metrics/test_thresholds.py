"""The whole curve from one pass equals thresholding the maps again and again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from getam.errors import InputError
from getam.metrics.confusion import confusion_matrix, scores
from getam.metrics.thresholds import DEFAULT_THRESHOLDS, ThresholdSweep, threshold_curve

C = 4
THRESHOLDS = (0.1, 0.25, 0.5, 0.75, 1.0)


@st.composite
def photos(draw: st.DrawFn) -> tuple[np.ndarray, list[int], np.ndarray]:
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=8))
    ids = draw(st.lists(st.integers(1, C), unique=True, max_size=C))
    # quarters, so that maps lie exactly on thresholds
    values = st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 0.8, 1.0])
    kind = draw(st.sampled_from([np.float32, np.float64]))
    maps = draw(hnp.arrays(kind, (len(ids), *shape), elements=values.map(lambda value: float(kind(value)))))
    truth = draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from([*range(C + 1), 255])))
    return maps, ids, truth


def label_slowly(maps: np.ndarray, ids: list[int], threshold: float) -> np.ndarray:
    label = np.zeros(maps.shape[1:], np.uint8)
    for y in range(maps.shape[1]):
        for x in range(maps.shape[2]):
            column = [float(value) for value in maps[:, y, x]]
            if column and max(column) >= threshold:
                label[y, x] = ids[column.index(max(column))]
    return label


@settings(max_examples=80, deadline=None)
@given(several=st.lists(photos(), min_size=1, max_size=3))
def test_every_point_of_the_curve_agrees_with_thresholding(several: list) -> None:
    sweep = ThresholdSweep(C, THRESHOLDS)
    expected = np.zeros((len(THRESHOLDS), C + 1, C + 1), np.int64)
    for maps, ids, truth in several:
        sweep.update(maps, ids, truth)
        for place, threshold in enumerate(THRESHOLDS):
            expected[place] += confusion_matrix(label_slowly(maps, ids, threshold), truth, C)[:, :-1]
    np.testing.assert_array_equal(sweep.matrices(), expected)
    curve = sweep.compute()
    np.testing.assert_allclose(curve.miou, [scores(matrix).miou for matrix in expected])
    if not np.isnan(curve.miou).all():
        threshold, best = curve.best
        assert best.miou == np.nanmax(curve.miou)
        assert curve.at(threshold) == best or np.isnan(best.iou).any()


@settings(max_examples=30, deadline=None)
@given(one=photos(), other=photos())
def test_merging_is_seeing_both(one: tuple, other: tuple) -> None:
    first, second, whole = (ThresholdSweep(C, THRESHOLDS) for _ in range(3))
    first.update(*one)
    second.update(*other)
    whole.update(*one)
    whole.update(*other)
    first.merge(second)
    np.testing.assert_array_equal(first.matrices(), whole.matrices())


def test_a_separating_threshold_is_found() -> None:
    truth = np.array([[0, 0, 2], [0, 2, 2]])
    maps = np.where(truth == 2, 0.6, 0.3)[None]
    curve = threshold_curve(maps, [2], truth, classes=2)
    threshold, best = curve.best
    assert threshold == pytest.approx(0.31)
    assert best.miou == 1
    assert curve.at(0.5).miou == 1
    assert curve.at(0.2).iou[0] == 0
    assert curve.at(0.7).iou[2] == 0


def test_thresholds_are_sorted_and_unique() -> None:
    assert ThresholdSweep(1, (0.5, 0.1, 0.5)).thresholds == (0.1, 0.5)


def test_the_thresholds_are_hundredths_between_nothing_and_everything() -> None:
    assert len(DEFAULT_THRESHOLDS) == 99
    assert pytest.approx(np.arange(1, 100) / 100) == DEFAULT_THRESHOLDS
    assert (
        ThresholdSweep(1).thresholds
        == threshold_curve(np.zeros((0, 1, 1)), [], np.zeros((1, 1), int), 1).thresholds
        == DEFAULT_THRESHOLDS
    )


@pytest.mark.filterwarnings("error")
def test_where_nothing_is_scored_the_lowest_threshold_stands_in() -> None:
    threshold, best = threshold_curve(np.zeros((1, 1, 2)), [1], np.full((1, 2), 255), 1, (0.4, 0.2)).best
    assert threshold == 0.2
    assert np.isnan(best.miou)


def test_the_lowest_of_equally_good_thresholds_is_the_best() -> None:
    curve = threshold_curve(np.array([[[0.1, 0.9]]]), [1], np.array([[0, 1]]), 1)
    assert curve.best[0] == 0.11
    assert curve.miou[:11] == pytest.approx([0.25] * 10 + [1.0])


def test_a_photo_without_tags_is_all_background() -> None:
    curve = threshold_curve(np.zeros((0, 2, 2)), [], np.array([[0, 1], [1, 255]]), classes=1)
    assert curve.at(0.5).iou == (pytest.approx(1 / 3), 0)


@pytest.mark.parametrize(
    ("maps", "ids", "truth", "message"),
    [
        (np.full((1, 2, 2), 1.5), [1], np.zeros((2, 2), int), r"maps range from 1\.5 to 1\.5: divide"),
        (np.full((1, 2, 2), -0.1), [1], np.zeros((2, 2), int), r"maps range from -0\.1 to -0\.1: divide"),
        (np.full((1, 2, 2), np.nan), [1], np.zeros((2, 2), int), "4 of 4 values of the maps are not finite"),
        (np.array([[[0, np.inf]]]), [1], np.zeros((1, 2), int), "1 of 2 values of the maps are not finite"),
        (np.array([[[0, np.nan]]]), [1], np.array([[0, 255]]), "1 of 2 values of the maps are not finite"),
        (np.zeros((1, 2, 2)), [1], np.zeros((2, 3), int), r"maps are \(1, 2, 2\) .* the truth is \(2, 3\)"),
        (np.zeros((1, 2, 2)), [1, 2], np.zeros((2, 2), int), "with 2 class ids"),
        (np.zeros((1, 2, 2)), [0], np.zeros((2, 2), int), r"class ids \[0\] must be labels from 1 to 2"),
        (np.zeros((1, 2, 2)), [1], np.full((2, 2), 3), "labels up to 3"),
    ],
)
def test_what_does_not_fit_is_an_error(
    maps: np.ndarray, ids: list[int], truth: np.ndarray, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        threshold_curve(maps, ids, truth, classes=2)


def test_unknown_thresholds_and_unlike_sweeps_are_errors() -> None:
    with pytest.raises(InputError, match=r"threshold 0\.33 is not on the curve: it has 0\.1, 0\.5"):
        ThresholdSweep(1, (0.1, 0.5)).compute().at(0.33)
    with pytest.raises(InputError, match="cannot be merged"):
        ThresholdSweep(1, (0.1,)).merge(ThresholdSweep(1, (0.2,)))
    with pytest.raises(InputError, match="at least one threshold"):
        ThresholdSweep(1, ())
