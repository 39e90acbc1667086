"""Dice against a loop over photos, classes and pixels."""

from __future__ import annotations

import numpy as np
import pytest

from getam.metrics.confusion import confusion_matrix, hits_and_unions
from getam.metrics.dice import dice


def by_loops(predictions: list[np.ndarray], truths: list[np.ndarray], classes: int) -> list[float]:
    found = []
    for label in range(1, classes + 1):
        each = []
        for said, true in zip(predictions, truths, strict=True):
            pairs = [
                (int(a == label), int(b == label))
                for a, b in zip(said.flat, true.flat, strict=True)
                if b != 255
            ]
            both, either = sum(a * b for a, b in pairs), sum(a + b for a, b in pairs)
            if either:
                each.append(2 * both / either)
        found.append(sum(each) / len(each) if each else float("nan"))
    return found


def test_it_is_that_of_a_loop() -> None:
    random = np.random.default_rng(0)
    truths = [random.choice([0, 1, 2, 255], (5, 7)).astype(np.uint8) for _ in range(4)]
    truths.append(np.zeros((5, 7), np.uint8))
    predictions = [random.choice([0, 1, 2, 255], (5, 7)).astype(np.uint8) for _ in range(4)]
    predictions.append(np.where(np.eye(5, 7, dtype=bool), 2, 0).astype(np.uint8))  # of one class only
    counts = np.stack(
        [hits_and_unions(confusion_matrix(p, t, 3)) for p, t in zip(predictions, truths, strict=True)]
    )
    found, expected = dice(counts), by_loops(predictions, truths, 3)
    assert found.per_class[:2] == pytest.approx(expected[:2])
    assert np.isnan(found.per_class[2])
    assert found.mean == pytest.approx(np.mean(expected[:2]))


def test_it_is_a_mean_over_photos_not_over_pixels() -> None:
    counts = np.array([[[90, 10], [90, 10]], [[99, 0], [100, 1]]])  # ten pixels right, then the one wrong
    assert dice(counts).mean == 0.5


def test_where_nothing_occurs_there_is_none() -> None:
    found = dice(np.array([[[9, 0, 0], [9, 0, 0]]]))
    assert np.isnan([found.mean, *found.per_class]).all()
