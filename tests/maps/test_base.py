"""Class lists and tags become slots; methods have names."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from getam.errors import InputError
from getam.maps.base import class_slots
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
    slots, _ = class_slots(torch.tensor(tags).to(dtype), len(tags), 3)
    assert torch.equal(slots, class_slots(lists, len(tags), 3)[0])


@pytest.mark.parametrize("classes", [[3, 7], [["cat"], ["dog"]], 5, [None, [1]]])
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
