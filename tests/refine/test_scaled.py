"""refine_maps(): any grid and magnitude in, maps of peak 1 at photo size out."""

import pytest
import torch
import torch.nn.functional as F

from getam.errors import InputError
from getam.photo_size import seen_size
from getam.refine.pamr import pamr
from getam.refine.scaled import refine_at_scale, refine_maps, scale_to_peak, shrunk


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_even_the_smallest_numbers_have_a_peak_of_one(dtype: torch.dtype) -> None:
    smallest = (
        torch.tensor([[[[2.0, 0.0], [1.0, 8.0]]]], dtype=dtype) * torch.finfo(dtype).smallest_normal / 16
    )
    assert scale_to_peak(smallest).flatten().tolist() == [0.25, 0, 0.125, 1]


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


# Large photos


@pytest.mark.parametrize(
    ("size", "scale", "seen"),
    [
        ((375, 500), 1.0, (375, 500)),
        ((500, 333), 0.5, (250, 166)),  # as ever: half, rounded down
        ((501, 333), 1.0, (500, 332)),
        ((3000, 4000), 1.0, (375, 500)),
        ((3000, 4000), 0.5, (187, 250)),
        ((4001, 3), 0.5, (250, 1)),
        ((3, 501), 0.1, (1, 50)),
    ],
)
def test_larger_photos_are_seen_as_their_copy_of_500(
    size: tuple[int, int], scale: float, seen: tuple[int, int]
) -> None:
    assert seen_size(*size, scale) == seen


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_photo_is_shrunk_by_means_over_areas(dtype: torch.dtype) -> None:
    photo = (torch.rand(1, 3, 12, 1000) * 255).to(dtype)
    torch.testing.assert_close(shrunk(photo), F.avg_pool2d(photo.float(), 2))
    torch.testing.assert_close(shrunk(photo, 0.25), F.avg_pool2d(photo.float(), (12, 8)).expand(1, 3, 1, 125))
    small = photo[..., :500]
    assert shrunk(small) is small
    torch.testing.assert_close(shrunk(small, 0.5), F.avg_pool2d(small.float(), 2))


@pytest.mark.parametrize(("scale", "seen"), [(1.0, (20, 500)), (0.5, (10, 250))])
def test_refiners_see_the_copy_and_the_maps_come_back_at_photo_size(
    scale: float, seen: tuple[int, int]
) -> None:
    photo, maps = torch.rand(1, 3, 48, 1200) * 255, torch.rand(1, 2, 3, 4)
    asked = []

    def refiner(images: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        asked.append(tuple(images.shape))
        return pamr(images, given)

    found = refine_at_scale(refiner, photo, maps, scale=scale)

    assert asked == [(1, 3, *seen)]
    copy = F.interpolate(photo, seen, mode="area")
    refined = F.interpolate(pamr(copy, scale_to_peak(maps)), (48, 1200), mode="bilinear", align_corners=True)
    torch.testing.assert_close(found, refined / (refined.amax((2, 3), keepdim=True) + 1e-5))


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_photos_of_500_are_refined_as_they_are(scale: float) -> None:
    photo, maps = torch.rand(1, 3, 30, 500) * 255, torch.rand(1, 1, 3, 4)
    small = F.interpolate(photo, (int(30 * scale), int(500 * scale)), mode="area")
    refined = pamr(small, scale_to_peak(maps))
    refined = F.interpolate(refined, (30, 500), mode="bilinear", align_corners=True)
    wanted = refined / (refined.amax((2, 3), keepdim=True) + 1e-5)
    torch.testing.assert_close(refine_maps(photo, maps, scale=scale), wanted, rtol=0, atol=0)


def test_maps_without_a_peak_are_refused_instead_of_counting_as_zeros() -> None:
    maps = torch.rand(1, 2, 3, 4)
    maps[0, 1, 2, 3] = torch.nan
    with pytest.raises(InputError, match="the maps hold NaN"):
        refine_maps(torch.rand(1, 3, 12, 16), maps)
    with pytest.raises(InputError, match="the maps hold NaN"):
        scale_to_peak(maps)


def test_maps_may_be_masks_and_photos_of_8_bits() -> None:
    photo, mask = (torch.rand(1, 3, 12, 16) * 255).byte(), torch.rand(1, 1, 3, 4) < 0.5
    found = refine_maps(photo, mask, scale=0.5)
    torch.testing.assert_close(found, refine_maps(photo.float(), mask.float(), scale=0.5), rtol=0, atol=0)
