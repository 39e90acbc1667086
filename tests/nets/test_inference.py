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


def test_a_white_photo_stays_white_and_is_not_mirrored_unasked() -> None:
    net = tiny.hybrid_segmenter()
    given: list[torch.Tensor] = []
    net.register_forward_pre_hook(lambda _m, inputs: given.append(inputs[0]))
    photo = torch.full((3, 20, 28), 255, dtype=torch.uint8)
    photo[:, :, :14] = 0
    photo_logits(net, photo, (32,))
    assert len(given) == 1
    assert given[0].shape == (1, 3, 24, 32)
    torch.testing.assert_close(given[0][..., -1], torch.full((1, 3, 24), 255.0))
    torch.testing.assert_close(given[0][..., 0], torch.zeros(1, 3, 24))


def test_half_precision_logits_are_enlarged_and_summed_in_float32() -> None:
    net = tiny.hybrid_segmenter()
    exact = photo_logits(net, tiny.photos(1, 32, 40, net)[0], (40,))
    net.register_forward_hook(lambda _m, _i, out: out._replace(logits=out.logits.bfloat16()))
    rounded = net(tiny.photos(1, 32, 40, net)).logits.float()
    found = photo_logits(net, tiny.photos(1, 32, 40, net)[0], (40,))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, rounded[0], rtol=0, atol=0)
    found = photo_logits(net, tiny.photos(1, 32, 40, net)[0], (64,))
    rounded = net(
        F.interpolate(tiny.photos(1, 32, 40, net), (48, 64), mode="bilinear", antialias=True)
    ).logits
    torch.testing.assert_close(
        found, F.interpolate(rounded.float(), (32, 40), mode="bilinear")[0], rtol=0, atol=1e-5
    )
    assert not torch.equal(found, exact)
