"""Strokes on a mask, against loops over pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from getam.errors import InputError
from getam.web.strokes import painted, together

COLOURS = np.array([[200, 0, 0], [0, 0, 200], [0, 0, 0], [150, 150, 150]], np.uint8)
NUMBERS = [1, 2, 0, 255]


def layer_of(which: np.ndarray, alpha: int = 255) -> np.ndarray:
    """RGBA of places in `COLOURS`, −1 for nothing."""
    layer = np.zeros((*which.shape, 4), np.uint8)
    layer[which >= 0, :3] = COLOURS[which[which >= 0]]
    layer[which >= 0, 3] = alpha
    return layer


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_a_pixel_is_what_was_painted_on_it_or_what_it_was(height: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    label = random.integers(0, 3, (height, width)).astype(np.uint8)
    which = random.integers(-1, 4, (height, width))
    before = label.copy()
    done = painted(label, layer_of(which), COLOURS, NUMBERS)
    for y in range(height):
        for x in range(width):
            assert done[y, x] == (label[y, x] if which[y, x] < 0 else NUMBERS[which[y, x]])
    assert done.dtype == np.uint8
    assert (label == before).all()


def test_the_soft_rim_of_a_stroke_paints_from_half_its_strength_on() -> None:
    label = np.full((1, 3), 2, np.uint8)
    layer = layer_of(np.zeros((1, 3), int))
    layer[0, :, 3] = 127, 128, 255
    assert painted(label, layer, COLOURS, NUMBERS).tolist() == [[2, 1, 1]]


def test_between_two_strokes_the_nearer_one_counts_not_the_nearer_colour() -> None:
    which = np.array([[0, 0, 0, 0, 3, 3]])
    layer = layer_of(which)
    layer[0, 3, :3] = 1, 1, 199  # a mixture that is nearly the blue of class 2, beside grey
    layer[0, 2, :3] = 100, 0, 100
    assert painted(np.zeros((1, 6), np.uint8), layer, COLOURS, NUMBERS).tolist() == [[1, 1, 1, 255, 255, 255]]


def test_strokes_on_a_smaller_picture_are_enlarged_as_blocks() -> None:
    label = np.zeros((4, 6), np.uint8)
    which = np.array([[-1, 1, -1], [0, -1, 3]])
    expected = np.where(which < 0, 0, np.array([*NUMBERS, 0])[which]).repeat(2, 0).repeat(2, 1)
    assert (painted(label, layer_of(which), COLOURS, NUMBERS) == expected).all()


def test_without_strokes_the_mask_is_as_it_was_and_another_array() -> None:
    label = np.ones((2, 2), np.uint8)
    done = painted(label, np.zeros((2, 2, 4), np.uint8), COLOURS, NUMBERS)
    assert (done == label).all()
    assert done is not label


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (np.zeros((4, 4, 3), np.uint8), r"not \(h, w, 4\) uint8"),
        (np.zeros((4, 4, 4), np.float32), r"not \(h, w, 4\) uint8"),
        (np.full((4, 8, 4), 255, np.uint8), "strokes are 8×4 but the photo is 4×4"),
        (np.full((4, 4, 4), 255, np.uint8), "none of the classes' colours"),
    ],
)
def test_what_is_no_layer_of_the_photo_is_refused(layer: np.ndarray, said: str) -> None:
    with pytest.raises(InputError, match=said):
        painted(np.zeros((4, 4), np.uint8), layer, COLOURS, NUMBERS)


def test_of_layers_the_last_is_on_top() -> None:
    low, high = layer_of(np.array([[0, 0, -1]])), layer_of(np.array([[-1, 1, -1]]))
    both = together([low, None, high, np.zeros((1, 3, 4), np.uint8)])
    assert both is not None
    assert painted(np.full((1, 3), 7, np.uint8), both, COLOURS, NUMBERS).tolist() == [[1, 2, 7]]
    assert (low == layer_of(np.array([[0, 0, -1]]))).all()
    assert together([None, np.zeros((1, 3, 4), np.uint8)]) is None
    assert together([]) is None
