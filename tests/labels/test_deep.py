"""Labels of a long class list are those of the same photo under small numbers, brought back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from getam.errors import InputError
from getam.labels.completion import complete
from getam.labels.deep import label_among, torch_label_dtype
from getam.labels.registry import LABELLERS, label_with


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 999), unique=True, max_size=3), min_size=1, max_size=3),
    st.integers(0, 1000),
)
def test_any_numbering_gives_the_same_label_under_its_own_names(tags: list[list[int]], seed: int) -> None:
    torch.manual_seed(seed)
    maps, saliency = torch.rand(len(tags), 3, 6, 7), torch.rand(len(tags), 6, 7) > 0.5
    classes = torch.full((len(tags), 3), -1)
    small = classes.clone()
    for row, own in enumerate(tags):
        classes[row, : len(own)] = torch.tensor(own, dtype=torch.int64)
        small[row, : len(own)] = torch.tensor([sorted(own).index(c) for c in own], dtype=torch.int64)
    found = label_among(1000, classes, lambda its: complete(maps, its, saliency, quantile=0.5, opening=0))
    local = complete(maps, small, saliency, quantile=0.5, opening=0)
    for row, own in enumerate(tags):
        names = {0: 0, 255: 65535, **{place + 1: c + 1 for place, c in enumerate(sorted(own))}}
        assert found[row].flatten().tolist() == [names[v] for v in local[row].flatten().tolist()]
    assert found.dtype == torch.int32


def test_short_lists_are_left_alone() -> None:
    classes = torch.tensor([[253]])
    given = torch.zeros(1, 2, 2, dtype=torch.uint8)
    assert label_among(254, classes, lambda own: given if own is classes else given + 1) is given
    assert (torch_label_dtype(254), torch_label_dtype(255)) == (torch.uint8, torch.int32)


def test_a_photo_of_too_many_classes_is_refused() -> None:
    classes = torch.arange(255)[None]
    with pytest.raises(InputError, match="a photo has 255 tags: labels are made of 254 at most"):
        label_among(300, classes, lambda own: own)
    padded = torch.cat([torch.arange(254), torch.tensor([-1])])[None]
    assert label_among(300, padded, lambda own: own[:, :1, None].byte() + 1).tolist() == [[[1]]]


def test_by_name_with_the_length_of_the_list() -> None:
    maps = torch.tensor([[[[0.0, 0.2, 0.9]]]])
    found = label_with("threshold", torch.tensor([[289]]), count=300, maps=maps)
    assert found.tolist() == [[[0, 65535, 290]]]


@pytest.mark.parametrize("name", LABELLERS)
def test_labellers_refuse_numbers_that_8_bits_do_not_hold(name: str) -> None:
    plane = torch.zeros(1, 4, 4)
    given = {"maps": torch.rand(1, 1, 4, 4), "images": torch.zeros(1, 3, 4, 4), "saliency": plane,
             "prediction": plane.long(), "initial": plane.long()}  # fmt: skip
    needs = {need: given[need] for need in LABELLERS[name].needs}
    with pytest.raises(
        InputError, match="class 254 does not fit into 8-bit labels, which end with class 253"
    ):
        LABELLERS[name].function(classes=torch.tensor([[254]]), **needs)
