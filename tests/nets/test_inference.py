"""Logits at photo size: one scale is a plain forward, scales and flips are averaged."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import tiny
from getam.errors import InputError
from getam.nets.inference import enlarged_labels, foreground_saliency, photo_logits, shrunk_photo
from getam.photo_size import fit_patches


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


@pytest.mark.parametrize("size", [(300, 500), (333, 517), (500, 20), (37, 61)])
@pytest.mark.parametrize("strip", [1, 5000, 2**22])
def test_labels_are_those_of_all_values_enlarged(
    size: tuple[int, int], strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getam.nets.inference.STRIP", strip)
    values = torch.randn(5, 37, 61, generator=torch.Generator().manual_seed(0))
    wanted = F.interpolate(values[None], size=size, mode="bilinear", align_corners=False)[0].argmax(0)
    found = enlarged_labels(values, size)
    assert found.dtype == torch.uint8
    assert found.shape == size
    assert (found == wanted).float().mean() > 0.9999  # two classes may be equal but for rounding


def test_labels_of_one_pixel_and_of_many_classes() -> None:
    assert enlarged_labels(torch.tensor([[[0.0]], [[1.0]]]), (3, 4)).tolist() == [[1] * 4] * 3
    values = torch.zeros(255, 2, 2)
    values[254] = 1
    assert (enlarged_labels(values, (5, 5)) == 254).all()


def test_memory_for_labels_does_not_grow_with_the_photo() -> None:
    values = torch.randn(21, 50, 60)
    seen: list[int] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = call(*args, **(kwargs or {}))
            if isinstance(found, torch.Tensor):
                seen.append(found.numel() * found.element_size())
            return found

    with Watch():
        assert enlarged_labels(values, (2000, 3000)).shape == (2000, 3000)
    assert max(seen) < 40e6  # 21 classes of 2000×3000 are 504 MB


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_large_photos_are_shrunk_and_others_left_alone(dtype: torch.dtype) -> None:
    photo = (
        (torch.rand(60, 90, 3, generator=torch.Generator().manual_seed(0)) * 255).to(dtype).permute(2, 0, 1)
    )
    assert shrunk_photo(photo, 90) is photo
    assert shrunk_photo(photo, 500) is photo
    small = shrunk_photo(photo, 30)
    assert (small.shape, small.dtype) == ((3, 20, 30), dtype)
    wanted = F.interpolate(photo.float()[None], size=(20, 30), mode="bilinear", antialias=True)[0]
    torch.testing.assert_close(small.float(), wanted, rtol=0, atol=1.0)
    assert shrunk_photo(torch.zeros(3, 1, 400), 20).shape == (3, 1, 20)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_refused(value: float) -> None:
    net = tiny.hybrid_segmenter()
    with torch.no_grad():
        next(net.decoder.parameters()).fill_(value)
    with pytest.raises(InputError, match=r"logits are not finite .* smaller --lr"):
        photo_logits(net, tiny.photos(1, 32, 40, net)[0], (40,))


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


def test_foreground_is_the_fifth_root_of_what_is_not_background() -> None:
    net = tiny.hybrid_segmenter()
    photo = torch.randint(0, 256, (3, 40, 56), dtype=torch.uint8)
    found = foreground_saliency(net, photo, (32, 48), flip=True)
    background = photo_logits(net, photo, (32, 48), flip=True).softmax(0)[0]
    torch.testing.assert_close(found**5, 1 - background, atol=1e-6, rtol=0)

    assert not torch.equal(found, foreground_saliency(net, photo, (32, 48)))
