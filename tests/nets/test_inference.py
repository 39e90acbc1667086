"""Logits at photo size: one scale is a plain forward, scales and flips are averaged."""

import pytest
import torch
import torch.nn.functional as F

import tiny
from getam.nets.inference import fit_patches, photo_logits


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_one_scale_is_a_forward_between_two_resizings(dtype: torch.dtype) -> None:
    net = tiny.hybrid_segmenter()
    photo = tiny.photos(1, 45, 61, net)[0].to(dtype)
    found = photo_logits(net, photo, (40,))
    resized = F.interpolate(photo.float()[None], (32, 40), mode="bilinear", antialias=True)
    wanted = F.interpolate(net(resized).logits, (45, 61), mode="bilinear")[0]
    torch.testing.assert_close(found, wanted)
    assert not found.requires_grad


def test_scales_and_flips_are_averaged() -> None:
    net = tiny.hybrid_segmenter()
    photo = tiny.photos(1, 32, 40, net)[0]
    both = photo_logits(net, photo, (40, 64))
    torch.testing.assert_close(both, (photo_logits(net, photo, (40,)) + photo_logits(net, photo, (64,))) / 2)
    flipped = photo_logits(net, photo.flip(-1), (40,)).flip(-1)
    wanted = (photo_logits(net, photo, (40,)) + flipped) / 2
    torch.testing.assert_close(photo_logits(net, photo, (40,), flip=True), wanted)


def test_with_flips_a_mirrored_photo_has_mirrored_logits() -> None:
    net = tiny.hybrid_segmenter()
    photo = tiny.photos(1, 32, 44, net)[0]
    mirrored = photo_logits(net, photo.flip(-1), (48,), flip=True)
    torch.testing.assert_close(
        mirrored.flip(-1), photo_logits(net, photo, (48,), flip=True), rtol=1e-3, atol=2e-3
    )


@pytest.mark.parametrize(
    ("size", "long_side", "patch", "wanted"),
    [((375, 500), 256, 16, (192, 256)), ((500, 375), 224, 14, (224, 168)),
     ((1, 1000), 64, 16, (16, 64)), ((5, 5), 3, 8, (8, 8))],
)  # fmt: skip
def test_sizes_are_multiples_of_the_patch(
    size: tuple[int, int], long_side: int, patch: int, wanted: tuple[int, int]
) -> None:
    assert fit_patches(*size, long_side, patch) == wanted
