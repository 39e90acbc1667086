"""multiscale(): peak 1 at every size, the largest grid, and mirrored back."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import tiny
from getam.maps.base import Maps
from getam.maps.methods.getam import getam
from getam.maps.multiscale import multiscale


def brightness(images: Tensor) -> Maps:
    """A method whose map is the photo's red at half its size, times an arbitrary factor; the second slot is empty."""
    red = F.avg_pool2d(images[:, :1], 2) * (7.0 if images.shape[-1] > 8 else 0.001)
    values = torch.cat([red, 0 * red], 1)
    slots = torch.tensor([[0, -1]] * len(images))
    return Maps(values, slots >= 0, slots, torch.zeros(len(images), 2), "red", tuple(red.shape[-2:]))


def test_one_size_is_the_map_at_peak_1() -> None:
    photo = torch.rand(2, 3, 8, 12)
    maps = multiscale(brightness, photo, [(8, 12)])
    red = F.avg_pool2d(photo[:, 0], 2)
    torch.testing.assert_close(maps[:, 0], red / red.amax((1, 2), keepdim=True))
    assert not maps[:, 1].any()


def test_sizes_count_alike_on_the_largest_grid() -> None:
    photo = torch.rand(1, 3, 8, 12)
    maps = multiscale(brightness, photo, [(8, 12), (4, 6)])
    assert maps.shape == (1, 2, 4, 6)
    small = multiscale(brightness, photo, [(4, 6)])
    wanted = multiscale(brightness, photo, [(8, 12)]) + F.interpolate(
        small, (4, 6), mode="bilinear", align_corners=True
    )
    torch.testing.assert_close(maps, wanted / 2)


def test_mirroring_is_undone() -> None:
    photo = torch.rand(1, 3, 8, 12)
    torch.testing.assert_close(
        multiscale(brightness, photo, [(8, 12)], flip=True), multiscale(brightness, photo, [(8, 12)])
    )


def test_with_mirroring_the_map_of_the_mirrored_photo_is_the_mirrored_map() -> None:
    model = tiny.hybrid_segmenter()
    photo = tiny.photos(1, 32, 48, model)

    def both(images: Tensor) -> Tensor:
        return multiscale(lambda x: getam(model, x, [[1]]), images, [(32, 48), (24, 32)], flip=True)

    torch.testing.assert_close(both(photo.flip(-1)), both(photo).flip(-1), rtol=1e-4, atol=1e-5)
    assert both(photo).max() <= 1


def test_maps_of_1e_minus_30_reach_peak_1() -> None:
    def faint(images: Tensor) -> Maps:
        found = brightness(images)
        return Maps(found.values * 1e-30, found.valid, found.classes, found.scores, "faint", found.grid)

    assert multiscale(faint, torch.rand(1, 3, 8, 12), [(8, 12)])[0, 0].max() == pytest.approx(1)


def test_what_a_method_sees_and_how_often() -> None:
    photo, seen = torch.rand(1, 3, 8, 12), list[Tensor]()

    def method(images: Tensor) -> Maps:
        seen.append(images)
        return brightness(images)

    multiscale(method, photo, [(4, 6), (6, 10)])
    assert len(seen) == 2  # mirrored only where asked for
    for images, size in zip(seen, [(4, 6), (6, 10)]):
        wanted = F.interpolate(photo, size=size, mode="bilinear", antialias=True)
        assert torch.equal(images, wanted)
    seen.clear()
    maps = multiscale(method, photo, [(4, 6), (8, 4), (8, 12), (2, 14)], flip=True)
    assert maps.shape == (1, 2, 4, 6)  # the grid of most patches
    assert [image.shape[-2:] for image in seen[::2]] == [(4, 6), (8, 4), (8, 12), (2, 14)]
    assert all(torch.equal(mirrored, plain.flip(-1)) for plain, mirrored in zip(seen[::2], seen[1::2]))
