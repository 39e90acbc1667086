"""Crops are drawn as the paper says; everything in one moves together, as a slow oracle moves it."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors

from getam.data.augmentation import (
    PAD_COLOUR,
    Augmentation,
    augment,
    crop_generator,
    draw_augmentation,
    with_long_side,
)


def test_drawn_numbers_cover_the_range_of_the_paper() -> None:
    drawn = [draw_augmentation((256, 256), crop_generator(0, 0, index)) for index in range(2000)]
    sides = np.array([each.long_side for each in drawn])
    low, high = 0.9 * 256, 256 / 0.875
    assert sides.min() == round(low)
    assert sides.max() == round(high)
    assert abs(sides.mean() - (low + high) / 2) < 2
    assert abs(np.mean([each.flip for each in drawn]) - 0.5) < 0.05
    assert abs(np.mean([each.offset for each in drawn]) - 0.5) < 0.03
    assert {each.brightness for each in drawn} == {1.0}


def test_gains_are_of_the_drawn_size() -> None:
    layers = {"image": tv_tensors.Image(torch.full((3, 8, 8), 100, dtype=torch.uint8))}
    brighter = augment(layers, (8, 8), (8, 8), Augmentation(8, (0.0, 0.0), False, brightness=1.2))
    assert torch.allclose(brighter["image"], torch.tensor(120.0), atol=0.01)


def crop_slowly(
    photo: np.ndarray, size: tuple[int, int], drawn: Augmentation
) -> tuple[np.ndarray, np.ndarray]:
    """Oracle for a photo that is not resized: every pixel of the crop is looked up in plain Python."""
    height, width = photo.shape[:2]
    top, left = (round((size[k] - photo.shape[k]) * drawn.offset[k]) for k in range(2))
    image, roi = np.empty((*size, 3)), np.zeros(size, bool)
    for y in range(size[0]):
        for x in range(size[1]):
            source_y, source_x = y - top, (size[1] - 1 - x if drawn.flip else x) - left
            roi[y, x] = 0 <= source_y < height and 0 <= source_x < width
            image[y, x] = photo[source_y, source_x] if roi[y, x] else PAD_COLOUR
    return image, roi


@settings(max_examples=60, deadline=None)
@given(
    photo_size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    offset=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    flip=st.booleans(),
)
def test_crop_pad_and_flip_agree_with_the_slow_way(
    photo_size: tuple[int, int], size: tuple[int, int], offset: tuple[float, float], flip: bool
) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*photo_size, 3), np.uint8)
    drawn = Augmentation(max(photo_size), offset, flip)
    layers = {"image": tv_tensors.Image(torch.from_numpy(photo).permute(2, 0, 1))}
    moved = augment(layers, photo_size, size, drawn)
    image, roi = crop_slowly(photo, size, drawn)
    np.testing.assert_allclose(moved["image"].permute(1, 2, 0).numpy(), image, atol=1e-4)
    np.testing.assert_array_equal(moved["roi"][0].bool().numpy(), roi)


def test_labels_are_taken_from_the_middle_of_the_pixels_they_replace() -> None:
    rows = torch.arange(9, dtype=torch.uint8).repeat_interleave(9).reshape(1, 9, 9)
    layers = {
        "image": tv_tensors.Image(rows.expand(3, 9, 9)),
        "mask": tv_tensors.Mask(rows),
    }
    moved = augment(layers, (9, 9), (3, 3), Augmentation(3, (0.0, 0.0), False))
    assert moved["mask"][0, :, 0].tolist() == [1, 4, 7]
    assert moved["image"][0, 1, 1] == 4


def test_the_long_side_follows_the_longer_side_of_the_crop() -> None:
    sides = [draw_augmentation((40, 200), crop_generator(0, 0, index)).long_side for index in range(200)]
    assert min(sides) >= 180
    assert max(sides) <= 229


@given(size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)), long_side=st.integers(1, 2000))
def test_fitting_keeps_the_long_side_and_the_shape(size: tuple[int, int], long_side: int) -> None:
    height, width = with_long_side(size, long_side)
    assert max(height, width) == long_side
    assert min(height, width) >= 1
    assert abs(height - size[0] * long_side / max(size)) <= 1
    assert abs(width - size[1] * long_side / max(size)) <= 1
