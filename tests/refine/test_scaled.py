"""refine_maps(): any grid and magnitude in, maps of peak 1 at photo size out."""

import pytest
import torch
import torch.nn.functional as F

from getam.refine.pamr import pamr
from getam.refine.scaled import refine_maps, scale_to_peak


def test_at_full_scale_it_is_pamr_between_two_normalisations() -> None:
    photo, maps = torch.rand(1, 3, 12, 16) * 255, torch.rand(1, 2, 3, 4)
    refined = pamr(photo, maps / maps.amax((2, 3), keepdim=True), iterations=3)
    wanted = refined / (refined.amax((2, 3), keepdim=True) + 1e-5)
    torch.testing.assert_close(refine_maps(photo, maps, iterations=3), wanted)


@pytest.mark.parametrize("magnitude", [1e-30, 1e-8, 1.0, 1e6])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_magnitude_does_not_matter(magnitude: float, scale: float) -> None:
    photo, maps = torch.rand(1, 3, 12, 16) * 255, torch.rand(1, 2, 3, 4)
    found = refine_maps(photo, maps * magnitude, scale=scale, iterations=2)
    torch.testing.assert_close(
        found, refine_maps(photo, maps, scale=scale, iterations=2), rtol=1e-3, atol=1e-4
    )
    assert found.shape == (1, 2, 12, 16)
    assert 0.999 < float(found.max()) <= 1


def test_odd_sides_at_half_scale() -> None:
    assert refine_maps(torch.rand(1, 3, 13, 17) * 255, torch.rand(1, 1, 3, 4), scale=0.5).shape == (
        1,
        1,
        13,
        17,
    )


def test_without_iterations_it_only_enlarges() -> None:
    maps = torch.rand(1, 1, 3, 4)
    wide = F.interpolate(maps, (12, 16), mode="bilinear", align_corners=True)
    found = refine_maps(torch.rand(1, 3, 12, 16), maps, iterations=0)
    torch.testing.assert_close(found, wide / wide.max(), rtol=1e-3, atol=1e-4)


def test_a_map_of_zeros_stays_zero_and_no_map_is_no_map() -> None:
    photo = torch.rand(1, 3, 12, 16)
    assert not refine_maps(photo, torch.zeros(1, 2, 3, 4)).any()
    assert not scale_to_peak(torch.zeros(1, 2, 3, 4)).any()
    assert refine_maps(photo, torch.zeros(1, 0, 3, 4), scale=0.5).shape == (1, 0, 12, 16)
