"""mIoU is held against a loop over pixels and against scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import confusion_matrix as sklearn_confusion
from sklearn.metrics import jaccard_score

from getam.errors import InputError
from getam.metrics.confusion import ConfusionMatrix, confusion_matrix, hits_and_unions, mean_iou, scores

C = 4
label_values = st.sampled_from([*range(C + 1), 255])
pairs = hnp.array_shapes(min_dims=2, max_dims=2, max_side=12).flatmap(
    lambda shape: st.tuples(*(hnp.arrays(np.uint8, shape, elements=label_values) for _ in range(2)))
)


def count_slowly(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    counts = np.zeros((C + 1, C + 2), np.int64)
    for predicted, true in zip(prediction.ravel().tolist(), truth.ravel().tolist(), strict=True):
        if true != 255:
            counts[true, C + 1 if predicted == 255 else predicted] += 1
    return counts


@settings(max_examples=80, deadline=None)
@given(pair=pairs)
def test_counts_agree_with_a_loop_over_pixels(pair: tuple[np.ndarray, np.ndarray]) -> None:
    np.testing.assert_array_equal(confusion_matrix(*pair, C), count_slowly(*pair))


@settings(max_examples=80, deadline=None)
@given(pair=pairs)
def test_scores_agree_with_sets_of_pixels(pair: tuple[np.ndarray, np.ndarray]) -> None:
    prediction, truth = pair
    found = scores(confusion_matrix(prediction, truth, C))
    scored = truth != 255
    expected, too_much, too_little = [], [], []
    for label in range(C + 1):
        painted, true = (prediction == label) & scored, (truth == label) & scored
        union = int((painted | true).sum())
        if union == 0:
            assert np.isnan(found.iou[label])
            continue
        expected.append((painted & true).sum() / union)
        too_much.append((painted & ~true).sum() / union)
        too_little.append((true & ~painted).sum() / union)
        assert found.iou[label] == pytest.approx(expected[-1])
    if not expected:
        assert np.isnan([found.miou, found.pixel_accuracy, found.false_positive_rate]).all()
        return
    assert found.miou == pytest.approx(np.mean(expected))
    assert found.false_positive_rate == pytest.approx(np.mean(too_much))
    assert found.false_negative_rate == pytest.approx(np.mean(too_little))
    assert found.miou + found.false_positive_rate + found.false_negative_rate == pytest.approx(1)
    assert found.pixel_accuracy == pytest.approx((prediction == truth)[scored].mean() if scored.any() else 0)


def test_agrees_with_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, C + 1, 5000)
    prediction = np.where(generator.random(5000) < 0.7, truth, generator.integers(0, C + 1, 5000))
    matrix = confusion_matrix(prediction, truth, C)
    np.testing.assert_array_equal(matrix[:, :-1], sklearn_confusion(truth, prediction, labels=range(C + 1)))
    assert scores(matrix).iou == pytest.approx(jaccard_score(truth, prediction, average=None))
    assert scores(matrix).miou == pytest.approx(jaccard_score(truth, prediction, average="macro"))


@settings(max_examples=50, deadline=None)
@given(one=pairs, other=pairs)
def test_merging_is_concatenating(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> None:
    first, second, whole = ConfusionMatrix(C), ConfusionMatrix(C), ConfusionMatrix(C)
    first.update(*one)
    second.update(*other)
    whole.update(*(np.concatenate([a.ravel(), b.ravel()]) for a, b in zip(one, other, strict=True)))
    first.merge(second)
    np.testing.assert_array_equal(first.matrix, whole.matrix)


@settings(max_examples=50, deadline=None)
@given(pair=pairs, order=st.permutations(range(C + 1)))
def test_renaming_the_classes_renames_the_scores(
    pair: tuple[np.ndarray, np.ndarray], order: list[int]
) -> None:
    table = np.full(256, 255, np.uint8)
    table[: C + 1] = order
    before, after = (
        scores(confusion_matrix(*pair, C)),
        scores(confusion_matrix(table[pair[0]], table[pair[1]], C)),
    )
    np.testing.assert_allclose([after.iou[order[label]] for label in range(C + 1)], before.iou)
    np.testing.assert_allclose(after.miou, before.miou)


@settings(max_examples=40, deadline=None)
@given(several=st.lists(pairs, min_size=1, max_size=3))
def test_hits_and_unions_of_photos_add_up_to_the_mean_iou(several: list) -> None:
    counts, whole = [], ConfusionMatrix(C)
    for prediction, truth in several:
        counts.append(hits_and_unions(confusion_matrix(prediction, truth, C)))
        whole.update(prediction, truth)
        scored = truth != 255
        for label in range(C + 1):
            painted, true = (prediction == label) & scored, (truth == label) & scored
            assert counts[-1][:, label].tolist() == [(painted & true).sum(), (painted | true).sum()]
    np.testing.assert_array_equal(float(mean_iou(sum(counts))), whole.compute().miou)
    np.testing.assert_array_equal(mean_iou(np.stack(counts)), [float(mean_iou(each)) for each in counts])


def test_no_label_is_a_miss_and_no_false_positive() -> None:
    truth = np.array([0, 1, 1, 2])
    found = scores(confusion_matrix(np.array([0, 1, 255, 2]), truth, 2))
    assert found.iou == (1, 0.5, 1)
    assert found.false_positive_rate == 0
    assert found.pixel_accuracy == 0.75


def test_255_is_no_label_also_with_254_classes() -> None:
    matrix = confusion_matrix(np.array([255, 254], np.uint8), np.array([254, 254], np.uint8), 254)
    assert matrix.shape == (255, 256)
    assert matrix[254, 255] == matrix[254, 254] == 1


def test_absent_classes_do_not_count() -> None:
    found = scores(confusion_matrix(np.array([0, 1]), np.array([0, 1]), 3))
    assert found.miou == 1
    assert np.isnan(found.iou[2:]).all()


def test_tensors_are_taken_too() -> None:
    prediction, truth = torch.tensor([[0, 1]]), torch.tensor([[1, 1]])
    np.testing.assert_array_equal(confusion_matrix(prediction, truth, 1), [[0, 0, 0], [1, 1, 0]])


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), r"prediction is \(2, 3\) but the truth is \(3, 2\)"),
        (np.zeros(2), np.zeros(2, int), "the prediction is float64: labels are whole numbers"),
        (np.array([5]), np.array([0]), "the prediction has label 5: labels are 0 to 4, or 255"),
        (np.array([0]), np.array([7]), "the truth has label 7"),
        (np.array([-1]), np.array([0]), "the prediction has label -1"),
        (np.array([0, 5, 1, 255]), np.array([0, 1, 2, 3]), "the prediction has label 5"),
        (np.array([0, 1, 1]), np.array([0, 255, 6]), "the truth has label 6"),
    ],
)
def test_other_labels_are_errors(prediction: np.ndarray, truth: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        confusion_matrix(prediction, truth, C)


def test_other_matrices_are_errors() -> None:
    with pytest.raises(InputError, match=r"not \(2, 5\)"):
        scores(np.zeros((2, 5), np.int64))
    with pytest.raises(InputError, match="of 2 and 3 classes cannot be merged"):
        ConfusionMatrix(2).merge(ConfusionMatrix(3))


def test_scores_are_plain_numbers() -> None:
    found = scores(confusion_matrix(np.array([0, 1, 0]), np.array([0, 1, 1]), 2))
    assert {type(value) for value in vars(found).values()} == {float, tuple}
    assert {type(value) for value in found.iou} == {float}


@pytest.mark.filterwarnings("error")
def test_nothing_scored_is_nan_without_a_warning() -> None:
    found = scores(np.zeros((3, 4), np.int64))
    assert np.isnan([*found.iou, found.miou, found.pixel_accuracy, found.false_positive_rate]).all()
