"""What a mask says about itself: shares by counting, doubts at their borders."""

import numpy as np
import pytest

from getam.errors import InputError
from getam.metrics.plausibility import plausibility

NAMES = ("cat", "dog", "cow")


def mask(*counts: int, undecided: int = 0) -> np.ndarray:
    """(1000, 1) uint8 with that many pixels of labels 1, 2, …; the rest background."""
    pixels = [label for label, count in enumerate(counts, start=1) for _ in range(count)] + [255] * undecided
    return np.array(pixels + [0] * (1000 - len(pixels)), np.uint8)[:, None]


def test_shares_are_counted_over_the_whole_photo() -> None:
    found = plausibility(mask(100, 0, 50, undecided=200), NAMES)
    assert found.covered == pytest.approx((0.65, 0.1, 0.0, 0.05))
    assert found.undecided == pytest.approx(0.2)
    assert found.foreground == pytest.approx(0.15)
    assert found.doubts == ()


def test_doubts_begin_at_their_borders() -> None:
    assert plausibility(mask(949), NAMES).doubts == ()
    assert plausibility(mask(950), NAMES).doubts == ("cat covers everything",)
    assert plausibility(mask(500, 450), NAMES).doubts == ("cat and dog covers everything",)
    assert plausibility(mask(100, undecided=500), NAMES).doubts == ()
    assert plausibility(mask(100, undecided=501), NAMES).doubts == ("50% undecided",)
    assert plausibility(mask(1), NAMES).doubts == ()
    assert plausibility(mask(0), NAMES).doubts == ("nothing found",)
    assert plausibility(mask(0, undecided=800), NAMES).doubts == ("80% undecided",)


def test_tags_that_are_not_painted_are_named_and_a_photo_without_tags_may_be_empty() -> None:
    assert plausibility(mask(100, 0, 1), NAMES, tags=[0, 1, 2]).doubts == ("tagged dog, not found",)
    assert plausibility(mask(0), NAMES, tags=[2, 0]).doubts == (
        "tagged cow, not found",
        "tagged cat, not found",
    )
    assert plausibility(mask(0), NAMES, tags=[]).doubts == ()


def test_the_order_to_look_at() -> None:
    fine, empty = plausibility(mask(500), NAMES), plausibility(mask(0), NAMES)
    doubtful = plausibility(mask(500, undecided=100), NAMES)
    assert fine.worth_a_look == pytest.approx(0.0)
    assert doubtful.worth_a_look == pytest.approx(0.05)
    assert plausibility(mask(100), NAMES).worth_a_look == pytest.approx(0.2)
    assert plausibility(mask(900), NAMES).worth_a_look == pytest.approx(0.2)
    assert empty.worth_a_look == pytest.approx(1.25)
    assert plausibility(mask(1000), NAMES, tags=[0, 1]).worth_a_look == pytest.approx(2.25)


def test_what_is_no_mask_is_refused() -> None:
    assert plausibility(mask(1, 1, 1), NAMES).covered[3] == pytest.approx(0.001)
    with pytest.raises(InputError, match="label 4 is beyond the 3 classes"):
        plausibility(mask(0, 0, 0, 5), NAMES)
    with pytest.raises(InputError, match=r"\(H, W\), not \(2, 2, 3\)"):
        plausibility(np.zeros((2, 2, 3), np.uint8), NAMES)
    with pytest.raises(InputError, match=r"not \(0, 4\)"):
        plausibility(np.zeros((0, 4), np.uint8), NAMES)
