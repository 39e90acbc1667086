"""The dense CRF in NumPy and SciPy against the one in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from getam.exported.crf import Lattice, as_seen, averaged, bilateral_features, dense_crf
from getam.photo_size import seen_size
from getam.refine.crf import dense_crf as torch_crf
from getam.refine.crf_parameters import DEEPLAB
from getam.refine.lattice import PermutohedralLattice
from getam.refine.scaled import shrunk


def scene(height: int, width: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A photo of soft blots (3,H,W) and beliefs (C,H,W) that do not quite follow them."""
    random = torch.Generator().manual_seed(seed)
    photo = F.interpolate(
        torch.rand(1, 3, 5, 6, generator=random) * 255, size=(height, width), mode="bilinear"
    )[0]
    logits = F.interpolate(
        torch.randn(1, classes, 4, 7, generator=random) * 2, size=(height, width), mode="bilinear"
    )
    return photo + torch.rand(photo.shape, generator=random) * 8, logits[0].softmax(0)


@pytest.mark.parametrize(("height", "width", "classes"), [(40, 60, 3), (33, 21, 7), (1, 9, 2)])
def test_mean_field_is_torchs(height: int, width: int, classes: int) -> None:
    photo, beliefs = scene(height, width, classes)
    beliefs[0, 0, 0] = 0  # has no logarithm
    wanted = torch_crf(photo[None], beliefs[None], parameters=DEEPLAB)[0].numpy()
    found = dense_crf(photo.numpy(), beliefs.numpy())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=2e-4)
    assert height == 1 or np.abs(found - beliefs.numpy()).max() > 0.1


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_the_lattice_filters_as_torchs(dimensions: int) -> None:
    random = np.random.default_rng(dimensions)
    features = random.normal(0, 2, (400, dimensions)).astype(np.float32)
    values = random.normal(0, 1, (400, 3)).astype(np.float32)
    wanted = PermutohedralLattice(torch.from_numpy(features)).filter(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(Lattice(features).filter(values), wanted, atol=1e-4 * np.abs(wanted).max())


def test_features_are_places_and_colours_in_standard_deviations() -> None:
    photo = np.arange(18, dtype=np.float32).reshape(3, 2, 3)
    found = bilateral_features(photo, 2, 3)
    assert found[4].tolist() == pytest.approx([1 / 2, 1 / 2, 4 / 3, 10 / 3, 16 / 3])


@pytest.mark.parametrize("size", [(7, 11), (40, 60), (1, 1), (39, 60)])
def test_means_over_areas_are_torchs(size: tuple[int, int]) -> None:
    values = np.random.default_rng(0).normal(0, 1, (2, 40, 60)).astype(np.float32)
    wanted = F.interpolate(torch.from_numpy(values)[None], size=size, mode="area")[0].numpy()
    np.testing.assert_allclose(averaged(values, size), wanted, atol=1e-5)


@pytest.mark.parametrize("sides", [(30, 800), (30, 500), (7, 20)])
def test_the_crf_sees_500_pixels_at_most(sides: tuple[int, int]) -> None:
    photo, beliefs = scene(*sides, 2)
    seen, its = as_seen(photo.numpy(), beliefs.numpy())
    assert seen.shape[1:] == its.shape[1:] == seen_size(*sides)
    np.testing.assert_allclose(seen, shrunk(photo[None])[0].numpy(), atol=1e-3)
    np.testing.assert_allclose(its, shrunk(beliefs[None])[0].numpy(), atol=1e-5)
