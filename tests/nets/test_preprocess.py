"""Photos as models expect them, held against timm's own transforms; and what cannot be a prepared photo."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn

import tiny
from getam.data.photos import as_tensor
from getam.errors import InputError
from getam.nets.preprocess import Preprocessing, check_batch, preprocessing_of


def noise(height: int, width: int) -> Tensor:
    random = np.random.default_rng(height)
    coarse = Image.fromarray(random.integers(0, 255, (6, 6, 3)).astype(np.uint8))
    return as_tensor(coarse.resize((width, height), Image.Resampling.BICUBIC))


class Around(nn.Module):
    """What people build around a model."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)


@pytest.mark.parametrize("wrap", [lambda net: net, Around])
@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224.augreg_in21k_ft_in1k", "resnet10t", "resnet18.tv_in1k"]
)
def test_as_timm_prepares_whole_photos(name: str, wrap: Any) -> None:
    net = timm.create_model(name)
    photo = torch.randint(70, 190, (3, 75, 120), dtype=torch.uint8)  # bicubic overshoot is not clipped
    data = resolve_model_data_config(net)
    theirs = create_transform(**{**data, "crop_pct": 1.0, "crop_mode": "squash"})
    wanted: Any = theirs(Image.fromarray(photo.permute(1, 2, 0).numpy()))
    found = preprocessing_of(wrap(net))(photo)
    assert found.shape == (1, *wanted.shape)
    step = 1 / 255 / min(data["std"])  # theirs rounds to 8 bits after each direction
    assert (found[0] - wanted).abs().max() <= 1.6 * step
    other = "bicubic" if data["interpolation"] == "bilinear" else "bilinear"
    blurred = F.interpolate(photo[None].float(), size=wanted.shape[1:], mode=other, antialias=True) / 255
    mean, std = (torch.tensor(data[key]).view(3, 1, 1) for key in ("mean", "std"))
    assert (found - (blurred - mean) / std).abs().max() > 10 * step  # so the interpolation matters here


def test_models_of_any_size_keep_the_photos_shape() -> None:
    net = timm.create_model("test_vit", dynamic_img_size=True)
    assert preprocessing_of(net)(noise(75, 150)).shape[-2:] == (80, 160)
    asked = preprocessing_of(net, 96)
    assert (asked.long_side, asked.patch) == (96, 16)
    assert asked(noise(150, 75)).shape[-2:] == (96, 48)
    assert asked.mean == preprocessing_of(net).mean
    assert asked.interpolation == preprocessing_of(net).interpolation


def test_a_size_the_model_was_built_for() -> None:
    net = timm.create_model("vit_tiny_patch16_224", img_size=64)
    assert preprocessing_of(net).size == (64, 64)
    with pytest.raises(InputError, match="photos of 64×64 only: leave out size"):
        preprocessing_of(net, 96)
    with pytest.raises(InputError, match="size 0 must be a positive"):
        preprocessing_of(net, 0)


def test_networks_of_ours_take_0_to_255() -> None:
    net = tiny.hybrid_segmenter()
    photo = noise(60, 120)
    assert preprocessing_of(net).long_side == 256
    found = preprocessing_of(net, 64)(photo)
    wanted = F.interpolate(photo[None].float(), size=(32, 64), mode="bilinear", antialias=True).clamp(0, 255)
    torch.testing.assert_close(found, wanted)


def test_torchvisions_models() -> None:
    net = torchvision.models.VisionTransformer(64, 16, 1, 2, 8, 16)
    found = preprocessing_of(Around(net))
    assert (found.size, found.mean, found.std) == ((64, 64), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert preprocessing_of(torchvision.models.resnet18()).size == (224, 224)


def test_a_model_may_say_it_itself() -> None:
    own = Preprocessing((8, 9), mean=(0.1,) * 3, std=(0.2,) * 3, interpolation="bicubic")
    net: Any = Around(nn.Identity())
    net.net.preprocessing = own
    assert preprocessing_of(net) is own
    assert own(noise(20, 20)).shape == (1, 3, 8, 9)
    with pytest.raises(InputError, match="Around does not say how its photos are prepared: pass a batch"):
        preprocessing_of(Around(nn.Identity()))


def test_large_photos_are_shrunk_first() -> None:
    photo = noise(300, 2000)
    small = F.interpolate(photo[None], size=(150, 1000), mode="bilinear", antialias=True).float()
    wanted = F.interpolate(small, size=(16, 16), mode="bilinear", antialias=True)
    torch.testing.assert_close(Preprocessing((16, 16))(photo), wanted)
    assert not torch.equal(
        wanted, F.interpolate(photo[None].float(), size=(16, 16), mode="bilinear", antialias=True)
    )


# Batches


def test_batches_that_photos_can_be() -> None:
    usual, half = timm.create_model("resnet10t"), timm.create_model("vit_tiny_patch16_224")
    ours = tiny.hybrid_segmenter()
    for net in (usual, half, nn.Identity()):
        check_batch(net, torch.full((1, 3, 4, 4), 2.6))
        check_batch(net, torch.randn(2, 3, 64, 64))
        check_batch(net, torch.full((1, 3, 4, 4), torch.inf))
    check_batch(usual, torch.tensor([-20.0, 20.0]).view(1, 1, 1, 2))
    for pixels in (
        torch.zeros(1, 3, 4, 4),
        torch.full((1, 3, 4, 4), 255.0),
        torch.full((1, 3, 4, 4), 7, dtype=torch.uint8),
    ):
        check_batch(ours, pixels)
    check_batch(ours, torch.tensor([-0.5, 200.0]).view(1, 1, 1, 2))  # what bicubic interpolation leaves


@pytest.mark.parametrize(
    ("name", "pixels", "said"),
    [
        (
            "resnet10t",
            torch.full((1, 3, 4, 4), 7, dtype=torch.uint8),
            r"uint8.*/ 255 − mean.*0\.485.*0\.229.*photos themselves",
        ),
        (
            "vit_tiny_patch16_224",
            torch.tensor([-9.5, 0.0]),
            r"from -9\.5 to 0, but normalised photos lie in -1 to 1",
        ),
        ("vit_tiny_patch16_224", torch.tensor([0.0, 9.5]), r"from 0 to 9\.5, but normalised"),
        (
            "resnet10t",
            torch.tensor([0.0, 255.0]),
            r"from 0 to 255, but normalised photos lie in -2\.12 to 2\.64",
        ),
        ("other", torch.tensor([0.0, 255.0]), "to 255.*as the model expects"),
        ("ours", torch.tensor([-2.0, 2.6]), "from -2 to 2.6, as normalised photos do.*0–255"),
        ("ours", torch.tensor([0.0, 1.0]), "from 0 to 1, as normalised"),
    ],
)
def test_batches_that_they_cannot_be(name: str, pixels: Tensor, said: str) -> None:
    net = {"ours": tiny.hybrid_segmenter, "other": nn.Identity}.get(name, lambda: timm.create_model(name))()
    with pytest.raises(InputError, match=said):
        check_batch(net, pixels if pixels.ndim == 4 else pixels.view(1, 1, 1, -1))
