"""Photos as a model expects them: size, interpolation, mean and deviation, from what the model says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, resolve_model_data_config
from timm.layers import to_2tuple
from torch import Tensor, nn

from getam.errors import InputError
from getam.nets.inference import shrunk_photo
from getam.nets.network import Network
from getam.nets.words import WordClassifier
from getam.photo_size import WORK_SIDE, fit_patches

LONG_SIDE = 256  # of photos for networks of ours, which take any size
TORCHVISION_SIDE = 224  # of those torchvision models that do not say
NORMALISED = 10  # no photo goes from below 0 to at most this, unless it is normalised
BEYOND = 4  # so many times the range of normalised photos may lie beside it: noise and adversarial photos do


@dataclass(frozen=True)
class Preprocessing:
    """How the photos of one model are prepared.

    Attributes:
        size: (h, w), to which a photo is resized as a whole, so that the map covers all of it; or the long side, where
            the model takes any multiple of its patch.
        patch: then in pixels; None for a fixed size.
        mean, std: of photos in [0,1]; None: the model takes 0–255.
        interpolation: "bilinear" or "bicubic", antialiased.
    """

    size: tuple[int, int] | int
    patch: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: str = "bilinear"

    @property
    def long_side(self) -> int:
        """The long side of prepared photos, in pixels."""
        return self.size if isinstance(self.size, int) else max(self.size)

    def __call__(self, photo: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """(3,H,W) uint8 → (1,3,h,w) float32 as the model expects it, on the device."""
        if isinstance(self.size, int):
            size = fit_patches(photo.shape[-2], photo.shape[-1], self.size, self.patch or 1)
        else:
            size = self.size
        image = shrunk_photo(photo, max(WORK_SIDE, self.long_side)).to(device).float()[None]
        image = F.interpolate(image, size=size, mode=self.interpolation, antialias=True).clamp(0, 255)
        if self.mean is None or self.std is None:
            return image
        mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (self.mean, self.std))
        return (image / 255 - mean) / std


def check_batch(net: nn.Module, images: Tensor) -> None:
    """Raise `InputError` where a batch (B,3,H,W) holds numbers that photos prepared for `net` cannot have.

    Numbers that are not finite pass: what the model makes of them says which photo it was.
    """
    try:
        found = preprocessing_of(net)
        wanted = f"(photo / 255 − mean) / std with mean {found.mean} and std {found.std}"
    except InputError:
        found, wanted = (
            Preprocessing(0, None, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
            "as the model expects it",
        )
    low, high = (float(number) for number in images.aminmax())
    if found.mean is None or found.std is None:
        if (low < 0 and high <= NORMALISED) or 0 < high <= 1:
            raise InputError(
                f"images go from {low:.3g} to {high:.3g}, as normalised photos do, but this network normalises photos "
                "itself: pass values in 0–255"
            )
        return
    remedy = f"a batch is {wanted}; or pass the photos themselves (PIL, paths, arrays (H, W, 3) uint8)"
    if not images.is_floating_point():
        raise InputError(f"images are {str(images.dtype).removeprefix('torch.')}: {remedy}")
    darkest = min(-m / s for m, s in zip(found.mean, found.std))
    brightest = max((1 - m) / s for m, s in zip(found.mean, found.std))
    margin = BEYOND * (brightest - darkest)
    if isfinite(low) and isfinite(high) and not darkest - margin <= low <= high <= brightest + margin:
        raise InputError(
            f"images go from {low:.3g} to {high:.3g}, but normalised photos lie in {darkest:.3g} to {brightest:.3g}: "
            + remedy
        )


def preprocessing_of(net: nn.Module, size: int | None = None) -> Preprocessing:
    """What a network says about its photos: one of ours, a timm or torchvision model, or a module around one.

    Args:
        net: if it has an attribute `preprocessing`, that is it.
        size: another long side, for models that take photos of any size.

    Raises:
        InputError: the model does not say, or takes photos of one size only.
    """
    if size is not None and size < 1:
        raise InputError(f"--size {size} must be a positive number of pixels")
    if isinstance(net, Network):
        own = net.side if isinstance(net, WordClassifier) else LONG_SIDE
        return Preprocessing(size or own, net.patch)
    found = _described(net)
    if size is None or size == found.size:
        return found
    if not isinstance(found.size, int):
        raise InputError(f"the model takes photos of {found.size[0]}×{found.size[1]} only: leave out size")
    return Preprocessing(size, found.patch, found.mean, found.std, found.interpolation)


def _described(net: nn.Module) -> Preprocessing:
    part: Any
    for part in net.modules():  # the net itself first
        if hasattr(part, "_orig_mod"):  # torch.compile's wrapper: what it wraps comes next
            continue
        if isinstance(own := getattr(part, "preprocessing", None), Preprocessing):
            return own
        if getattr(part, "pretrained_cfg", None):
            return _of_timm(part)
        if type(part).__module__.startswith("torchvision.models."):
            side = int(getattr(part, "image_size", TORCHVISION_SIDE))
            return Preprocessing((side, side), None, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    raise InputError(
        f"{type(net).__name__} does not say how its photos are prepared: pass a batch (B,3,H,W) that is, as it expects"
    )


def _of_timm(net: Any) -> Preprocessing:
    data = resolve_model_data_config(net)
    embed: Any = getattr(net, "patch_embed", None)
    built_for = getattr(embed, "img_size", None)  # another than of the pretrained weights, if asked for
    height, width = to_2tuple(built_for or data["input_size"][1:])
    # timm knows bilinear and bicubic, torch no other with antialias either
    interpolation = "bilinear" if data["interpolation"] == "bilinear" else "bicubic"
    normal = (tuple(data["mean"]), tuple(data["std"]), interpolation)
    if getattr(net, "dynamic_img_size", False):
        return Preprocessing(max(height, width), embed.feat_ratio(as_scalar=True), *normal)
    return Preprocessing((int(height), int(width)), None, *normal)
