"""How large a network sees a photo when nobody says."""

from __future__ import annotations

import pytest

from getam.photo_size import usual_side


@pytest.mark.parametrize(
    ("crop", "side"), [(None, 320), (32, 320), (224, 320), (229, 321), (320, 448), (512, 717)]
)
def test_larger_than_the_crops_it_was_trained_on_and_never_below_320(crop: int | None, side: int) -> None:
    assert usual_side(crop) == side
