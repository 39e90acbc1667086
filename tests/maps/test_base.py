"""Class lists and tags become slots; methods have names."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from getam.errors import InputError
from getam.maps.base import Maps, class_slots
from getam.maps.registry import REGISTRY, find_method


@settings(deadline=None)  # machines may be busy
@given(st.lists(st.lists(st.integers(0, 6), max_size=5), max_size=4))
def test_slots_hold_the_lists_in_order(lists: list[list[int]]) -> None:
    slots, valid = class_slots(lists, len(lists), 7)
    assert slots.shape == valid.shape == (len(lists), max(map(len, lists), default=0))
    assert slots.dtype == torch.int64
    assert [row[mask].tolist() for row, mask in zip(slots, valid)] == lists
    assert bool((slots[~valid] == -1).all())
    assert all(mask.tolist() == sorted(mask.tolist(), reverse=True) for mask in valid)


@settings(deadline=None)  # machines may be busy
@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=4))
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.int64])
def test_tags_mean_the_classes_that_are_not_zero(dtype: torch.dtype, tags: list[list[bool]]) -> None:
    lists = [[c for c, present in enumerate(row) if present] for row in tags]
    given = torch.tensor(tags).to(dtype)
    for same in (given, given.numpy()):
        assert torch.equal(class_slots(same, len(tags), 3)[0], class_slots(lists, len(tags), 3)[0])


@pytest.mark.parametrize(
    "classes",
    [
        [3, 7], [["cat"], ["dog"]], 5, [None, [1]], [[1.5], [2]], [[1.0], [0.0]], [[True, False], [False, True]],
        [np.array([True, False]), [1]], [torch.tensor([True, False]), [1]], [["3"], ["1"]],
    ],
)  # fmt: skip
def test_what_is_no_list_of_lists_is_refused(classes: Any) -> None:
    with pytest.raises(InputError, match=r"one list of class indices per photo, such as \[\[3, 7\], \[1\]\]"):
        class_slots(classes, 2, 10)


def test_indices_may_be_numpy_or_tensor_numbers() -> None:
    assert class_slots([torch.tensor([1, 2]), [0]], 2, 3)[0].tolist() == [[1, 2], [0, -1]]  # type: ignore[list-item]


def test_methods_by_name() -> None:
    assert all(find_method(name) is method for name, method in REGISTRY.items())
    with pytest.raises(
        InputError, match="no map method 'cat': choose one of getam, acr, ad-cam, legrad, rollout"
    ):
        find_method("cat")


# What maps answer


def made(values: Tensor, scores: list[list[float]], classes: list[list[int]]) -> Maps:
    slots = torch.tensor(classes)
    return Maps(values, slots >= 0, slots, torch.tensor(scores), "made", (2, 2), "cls")


def test_top_keeps_the_best_scores_of_each_photo_in_order() -> None:
    values = torch.rand(2, 3, 2, 2)
    maps = made(values, [[1.0, 3.0, 2.0], [-5.0, 0.0, 0.0]], [[7, 8, 9], [4, -1, -1]])
    best = maps.top(2)
    assert best.classes.tolist() == [[8, 9], [4, -1]]  # an empty slot's 0 does not beat a negative score
    assert best.scores.tolist() == [[3.0, 2.0], [-5.0, 0.0]]
    assert best.valid.tolist() == [[True, True], [True, False]]
    assert torch.equal(best.values[0], values[0, [1, 2]])
    assert torch.equal(best.values[1, 0], values[1, 0])
    assert (best.method, best.grid, best.rows) == ("made", (2, 2), "cls")
    assert maps.top(9).classes.tolist() == [[8, 9, 7], [4, -1, -1]]
    with pytest.raises(InputError, match=r"top\(0\)"):
        maps.top(0)


def test_masks_are_what_is_above_a_share_of_the_peak() -> None:
    values = torch.tensor([[[[0.0, 1.0], [2.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    maps = made(values, [[1.0, 1.0]], [[0, 1]])
    assert maps.to_masks(0.25)[0].tolist() == [[[False, False], [True, True]], [[False] * 2] * 2]
    assert maps.to_masks(0.0)[0, 0].tolist() == [[False, True], [True, True]]
    large = maps.to_masks(0.5, size=(3, 6))
    assert (large.shape, large.dtype) == ((1, 2, 3, 6), torch.bool)
    enlarged = np.asarray(Image.fromarray(values[0, 0].numpy()).resize((6, 3), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(large[0, 0].numpy(), enlarged > 0.5 * enlarged.max())
    for threshold in (1.0, -0.1, 1.5):
        with pytest.raises(InputError, match=r"outside \[0, 1\)"):
            maps.to_masks(threshold)
