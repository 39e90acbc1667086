"""Resizing in NumPy and Pillow is torch's, for photos, logits and labels of any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from getam.exported import arrays
from getam.exported.arrays import enlarged, enlarged_labels, resized_photo, softmax
from getam.nets.inference import enlarged_labels as torch_labels
from getam.nets.inference import shrunk_photo
from getam.photo_size import fit_long_side

SIDES = st.integers(1, 70)


def photo(height: int, width: int, seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8))


def as_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@settings(max_examples=60, deadline=None)
@given(
    SIDES, SIDES, SIDES, st.integers(2, 70), st.integers(0, 9)
)  # 1 pixel wide, torch repeats the first row
def test_photos_are_resized_with_torchs_antialiasing(h: int, w: int, to_h: int, to_w: int, seed: int) -> None:
    image = photo(h, w, seed)
    wanted = F.interpolate(as_tensor(image).float()[None], size=(to_h, to_w), mode="bilinear", antialias=True)
    found = resized_photo(image, (to_h, to_w))
    assert found.dtype == np.float32
    assert np.abs(found - wanted[0].clamp(0, 255).numpy()).max() < 0.01


@settings(max_examples=40, deadline=None)
@given(SIDES, SIDES, st.integers(1, 60), st.integers(0, 9))
def test_eight_bit_photos_are_shrunk_as_torch_shrinks_them(h: int, w: int, long_side: int, seed: int) -> None:
    image = photo(h, w, seed)
    wanted = shrunk_photo(as_tensor(image), long_side)
    height, width = fit_long_side(h, w, long_side)
    found = as_tensor(image.resize((width, height), Image.Resampling.BILINEAR))
    assert found.shape == wanted.shape
    assert (found.int() - wanted.int()).abs().max() <= 1  # of 255: the last bit of a fixed-point sum


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.integers(0, 9))
def test_logits_are_resized_without_antialiasing(h: int, w: int, to_h: int, to_w: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(0, 3, (2, h, w)).astype(np.float32)
    wanted = F.interpolate(
        torch.from_numpy(values)[None], size=(to_h, to_w), mode="bilinear", align_corners=False
    )
    found = enlarged(values, (to_h, to_w))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted[0].numpy(), atol=1e-4)


@pytest.mark.parametrize("strip", [1, 900, 2**22])
@pytest.mark.parametrize("size", [(31, 47), (12, 17), (90, 20)])
def test_labels_are_enlarged_as_torchs_whatever_the_strip(
    size: tuple[int, int], strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "STRIP", strip)
    values = np.random.default_rng(1).normal(0, 3, (5, 12, 17)).astype(np.float32)
    found = enlarged_labels(values, size)
    assert found.dtype == np.uint8
    assert (found == torch_labels(torch.from_numpy(values), size).numpy()).mean() > 0.999


def test_many_classes_need_sixteen_bits() -> None:
    values = np.zeros((300, 2, 3), np.float32)
    values[299, 1] = 1
    assert enlarged_labels(values, (2, 3)).dtype == enlarged_labels(values, (4, 6)).dtype == np.uint16
    assert enlarged_labels(values, (4, 6))[-1].tolist() == [299] * 6


def test_probabilities_of_large_logits_are_finite() -> None:
    logits = np.array([[[1000.0, -1000.0]], [[999.0, -1000.0]]], np.float32)
    np.testing.assert_allclose(softmax(logits), torch.from_numpy(logits).softmax(0).numpy(), rtol=1e-6)
