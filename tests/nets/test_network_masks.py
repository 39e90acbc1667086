"""A mask and how sure it is, at the size of the values and larger."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from getam.label_numbers import Among
from getam.nets.inference import enlarged_labels
from getam.nets.masks import named_mask

BELIEFS = torch.tensor([[[0.5, 0.2]], [[0.3, 0.7]], [[0.2, 0.1]]])  # of the network
VALUES = torch.tensor([[[0.1, 0.1]], [[0.8, 0.1]], [[0.1, 0.8]]])  # after a CRF, which decides


@pytest.mark.parametrize("size", [(1, 2), (3, 8)])
def test_the_values_decide_and_the_beliefs_say_how_sure(size: tuple[int, int]) -> None:
    label, sure = named_mask(BELIEFS, VALUES, size, Among(("cat", "cow")))
    assert label.shape == size
    assert label.dtype == np.uint8
    assert label.tolist() == enlarged_labels(VALUES, size).tolist()
    assert sure == pytest.approx({"cat": 0.3, "cow": 0.1})


@pytest.mark.parametrize("size", [(1, 1), (2, 2)])
def test_beyond_254_classes(size: tuple[int, int]) -> None:
    values = torch.zeros(301, 1, 1)
    values[290] = 1
    label, sure = named_mask(values, values, size, Among([f"c{number}" for number in range(300)]))
    assert label.dtype == np.int32
    assert set(label.flatten().tolist()) == {290}
    assert sure == {"c289": 1.0}
