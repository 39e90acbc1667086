"""Which map wins a pixel, against NumPy."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from getam.labels.winner import winner


@given(
    arrays(
        np.float32,
        array_shapes(min_dims=3, max_dims=3, max_side=5),
        elements=st.sampled_from([-1.0, 0.0, 2.0]),
    )
)
def test_as_numpy_the_first_of_equals(values: np.ndarray) -> None:
    assert winner(torch.from_numpy(values)).tolist() == values.argmax(0).tolist()


def test_of_channels_that_lie_last_in_memory() -> None:
    values = torch.tensor([[[1.0, 3.0], [2.0, 0.0]]]).permute(2, 0, 1)
    assert winner(values).tolist() == [[1, 0]]
