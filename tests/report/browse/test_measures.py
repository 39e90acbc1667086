"""Measures of a photo's masks against loops over pixels, and against what `getam evaluate` counts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from getam.errors import InputError
from getam.metrics.plausibility import plausibility
from getam.report.browse.measures import (
    Layer,
    Measures,
    mean_overlap,
    measured,
    occurring,
    order_to_look,
    overlap,
)

MASKS = Layer("masks", ("cat", "dog"))
labels = arrays.arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 1, 2, 255]))


def by_pixel(mask, truth, name, its, theirs):
    """Hits and union of one class, pixel by pixel; its and theirs: label → name."""
    hits = union = 0
    for said, true in zip(mask.ravel().tolist(), truth.ravel().tolist()):
        if true not in theirs:
            continue
        is_said, is_true = its.get(said) == name, theirs[true] == name
        hits += is_said and is_true
        union += is_said or is_true
    return hits, union


@given(labels, labels)
def test_overlap_counts_pixels(mask, truth):
    names = {0: "background", 1: "cat", 2: "dog"}
    counts = overlap((mask, MASKS), (truth, Layer("truth", ("cat", "dog"))), ("cat", "dog"))
    for label, name in names.items():
        assert tuple(counts[:, label]) == by_pixel(mask, truth, name, names, names)


def test_classes_are_matched_by_name_and_those_of_one_side_are_not_scored():
    mask = np.array([[1, 2, 0, 1]], np.uint8)
    truth = np.array([[2, 1, 0, 3]], np.uint8)  # dog, cow, background, cat
    counts = overlap((mask, MASKS), (truth, Layer("truth", ("cow", "dog", "cat"))), ("cat", "dog", "cow"))
    # The second pixel, a cow, is of a class the masks lack, and does not count.
    assert counts.tolist() == [[1, 1, 0, 0], [1, 2, 1, 0]]


def test_void_is_no_background():
    truth = np.array([[0, 1]], np.uint8)
    counts = overlap(
        (np.array([[0, 0]], np.uint8), MASKS), (truth, Layer("truth", ("cat",), void=True)), ("cat", "dog")
    )
    assert counts.tolist() == [
        [0, 0, 0],
        [0, 1, 0],
    ]  # background is not said either: a miss, no false positive
    counts = overlap(
        (np.array([[0, 0]], np.uint8), Layer("m", ("cat",), void=True)), (truth, MASKS), ("cat", "dog")
    )
    assert counts.tolist() == [[0, 0, 0], [1, 1, 0]]


def test_masks_of_two_sizes_are_refused():
    with pytest.raises(InputError, match="it is 3×2 in masks and 2×2 in truth"):
        overlap(
            (np.zeros((2, 3), np.uint8), MASKS),
            (np.zeros((2, 2), np.uint8), Layer("truth", ("cat",))),
            ("cat",),
        )


def test_a_photo_is_measured_by_itself_beside_others_and_beside_the_truth():
    mask = np.array([[1, 1, 0, 255]], np.uint8)
    other, truth = np.array([[1, 0, 0, 0]], np.uint8), np.array([[2, 2, 0, 0]], np.uint8)
    its = measured(
        mask, MASKS, ("dog", "cat"), confidences={"cat": 0.7}, other=(other, MASKS), truth=(truth, MASKS)
    )
    assert its.alone == plausibility(np.array([[2, 2, 0, 255]], np.uint8), ("dog", "cat"))
    assert its.least_sure == 0.7
    assert its.with_other is not None
    assert its.with_truth is not None
    assert its.with_other.tolist() == [[1, 0, 1], [3, 0, 2]]
    assert its.with_truth.tolist() == [[1, 0, 0], [2, 2, 2]]
    alone = measured(mask, MASKS, ("cat", "dog"), confidences={})
    assert (alone.least_sure, alone.with_other, alone.with_truth) == (None, None, None)


@given(labels, labels)
def test_mean_overlap_is_of_the_classes(mask, truth):
    counts = overlap((mask, MASKS), (truth, MASKS), ("cat", "dog"))
    ratios = [hits / union for hits, union in zip(*counts[:, 1:].tolist()) if union]
    expected = sum(ratios) / len(ratios) if ratios else counts[0, 0] / counts[1, 0] if counts[1, 0] else None
    found = mean_overlap(counts)
    assert (found is None) == (expected is None)
    if found is not None:
        assert math.isclose(found, expected)


def of(mask, **confidences):
    return Measures(plausibility(np.asarray(mask, np.uint8), ("cat", "dog")), confidences)


def test_what_looks_wrong_comes_first_then_what_is_least_sure():
    full, half = [[1, 1, 1, 1]], [[1, 1, 0, 0]]
    measures = {
        "sure": of(half, cat=0.9), "unsure": of(half, cat=0.4), "doubt": of(full, cat=1.0), "unnoted": of(half),
        "little": of([[1, 0, 0, 0]], cat=0.9), "again": of(half, cat=0.9),
    }  # fmt: skip
    assert order_to_look(measures) == ["doubt", "unsure", "little", "again", "sure", "unnoted"]


def test_a_class_occurs_in_the_mask_the_other_or_the_truth():
    nothing, cat = np.array([[0, 0]], np.uint8), np.array([[1, 0]], np.uint8)
    names = ("cat", "dog")
    assert occurring(measured(cat, MASKS, names, confidences={}), names) == [0]
    assert occurring(measured(nothing, MASKS, names, confidences={}), names) == []
    assert occurring(measured(nothing, MASKS, names, confidences={}, other=(cat * 2, MASKS)), names) == [1]
    assert occurring(measured(nothing, MASKS, names, confidences={}, truth=(cat, MASKS)), names) == [0]


def test_names_of_a_layer_are_its_classes_once():
    assert Layer("m", ("cat", "", "background", "cat", "dog")).names == ("cat", "dog")
