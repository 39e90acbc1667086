"""Confidences of label rules: the documented formula, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from getam.data.confidences import confidences
from getam.errors import InputError
from getam.labels.candidates import CANDIDATES, candidates
from getam.labels.confidence import label_beliefs, slots_of
from getam.labels.registry import LABELLERS, check_label_options


@pytest.mark.parametrize(
    ("name", "options", "level"),
    [
        ("free", {}, 0.25), ("free", {"foreground": 0.5}, 0.5), ("irn", {}, 0.3), ("afa", {"high": 0.6}, 0.6),
        ("threshold", {}, 0.3), ("saliency-fusion", {}, 0.25), ("completion", {}, None),
        ("completion", {"background_power": 2}, None),
    ],
)  # fmt: skip
def test_beliefs_are_shares_of_the_maps_and_the_strict_level(name: str, options: dict, level: float) -> None:
    maps = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0))
    found = label_beliefs(name, maps, None, options).numpy()
    for row in range(3):
        for column in range(4):
            own = maps[:, row, column].numpy().astype(np.float64)
            power = options.get("background_power", 32)
            background = (1 - own.max()) ** power if level is None else level
            whole = background + own.sum()
            wanted = [background / whole, *(own / whole)]
            np.testing.assert_allclose(found[:, row, column], wanted, rtol=1e-4, atol=1e-7)


def test_saliency_alone_is_its_own_belief() -> None:
    found = label_beliefs("single-tag", None, torch.tensor([[0.25]]), {})
    assert found.flatten().tolist() == [0.75, 0.25]


def test_a_confident_region_has_more_than_a_doubtful_one_and_undecided_pixels_do_not_count() -> None:
    maps = torch.zeros(2, 1, 5)
    maps[0, 0, :2] = 1.0
    maps[1, 0, 2:] = torch.tensor([0.4, 0.3, 1.0])
    label = torch.tensor([[5, 5, 2, 2, 255]], dtype=torch.uint8)
    slots = slots_of(label, torch.tensor([4, 1]))
    found = confidences(label_beliefs("free", maps, None, {}), slots, ["dog", "cat"])
    assert found == {
        "dog": pytest.approx(1 / 1.25), "cat": pytest.approx((0.4 / 0.65 + 0.3 / 0.55) / 2),
    }  # fmt: skip
    assert found["dog"] > found["cat"]


def test_every_candidate_is_an_option_of_its_rule_and_the_default_is_first() -> None:
    for name in CANDIDATES:
        assert candidates(name)[0] == {}
        assert len(candidates(name)) > 5
        for options in candidates(name):
            check_label_options(name, options)
            assert options.get("low", 0) <= options.get("high", 1)
            assert options.get("background", 0) <= options.get("foreground", 1)
    assert {"foreground", "background"} <= set(LABELLERS["free"].options)


def test_what_cannot_be_set_is_said() -> None:
    with pytest.raises(
        InputError, match="'saliency-fusion' have no thresholds to calibrate: choose one of free"
    ):
        candidates("saliency-fusion")
    with pytest.raises(InputError, match="'free' have no option 'high': they have foreground, background"):
        check_label_options("free", {"high": 1})
    with pytest.raises(InputError, match="foreground is 'much', but it must be a number"):
        check_label_options("free", {"foreground": "much"})
    with pytest.raises(InputError, match="foreground is True"):
        check_label_options("free", {"foreground": True})
