"""Pixel logits of one photo, at several scales, mirrored or not; its foreground; labels as large as any photo."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.errors import InputError
from getam.labels.deep import torch_label_dtype
from getam.labels.winner import winner
from getam.nets.segmenter import Segmenter
from getam.photo_size import fit_long_side, fit_patches

ROOT = 5  # chosen on photos of aeroplanes, bicycles, cats, dogs and flowers, most of them never seen by the network
STRIP = 2**22  # values of an enlarged map in memory at once: 16 MB


def shrunk_photo(photo: Tensor, long_side: int) -> Tensor:
    """(3,H,W) uint8 or float → the same with at most this long side, shape and type kept; smaller ones as they are."""
    size = fit_long_side(photo.shape[-2], photo.shape[-1], long_side)
    if size == tuple(photo.shape[-2:]):
        return photo
    return F.interpolate(photo[None], size=size, mode="bilinear", antialias=True)[0]


def enlarged_labels(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Arg-max over C of values (C,h,w) enlarged bilinearly to (H,W): with a strip of the (C,H,W) at a time.

    (H,W) uint8, or int32 where there are more than 254 classes besides the background.
    """
    dtype = torch_label_dtype(len(values) - 1)
    if values.shape[-2:] == size:
        return winner(values).to(dtype)
    height, width = size
    classes, rows = values.shape[:2]
    place = ((torch.arange(height, device=values.device) + 0.5) * (rows / height) - 0.5).clamp(0, rows - 1)
    above = place.long()
    below, share = (above + 1).clamp(max=rows - 1), (place - above)[:, None]
    strips = []
    for strip in torch.arange(height).split(max(1, STRIP // (classes * width))):
        part = torch.lerp(values[:, above[strip]], values[:, below[strip]], share[strip].to(values.dtype))
        wide = F.interpolate(part[None], size=(len(strip), width), mode="bilinear", align_corners=False)[0]
        strips.append(winner(wide).to(dtype))
    return torch.cat(strips)


def photo_logits(net: Segmenter, photo: Tensor, long_sides: Sequence[int], *, flip: bool = False) -> Tensor:
    """Mean of the logits over scales and flips, at photo size.

    Args:
        net: in eval mode.
        photo: (3,H,W) in 0–255, uint8 or float.
        long_sides: the photo is resized to each of these long sides (to multiples of the patch), shape kept.
        flip: average with the mirrored photo.

    Returns:
        (C+1,H,W) float32.

    Raises:
        InputError: logits that are not finite.
    """
    return batch_logits(net, [photo], long_sides, flip=flip)[0]


@torch.no_grad()
def batch_logits(
    net: Segmenter, photos: Sequence[Tensor], long_sides: Sequence[int], *, flip: bool = False
) -> list[Tensor]:
    """`photo_logits` of several photos, in one forward a scale and flip; the last bits differ from those of each alone.

    Args:
        net, long_sides, flip: as of `photo_logits`.
        photos: (3,H,W) each, of any sizes that `fit_patches` makes the same at every scale.

    Raises:
        InputError: logits that are not finite.
    """
    device = next(net.parameters()).device
    images = [photo.to(device, torch.float32)[None] for photo in photos]
    totals = [torch.zeros(len(net.classes) + 1, *photo.shape[-2:], device=device) for photo in photos]
    for long_side in long_sides:
        (size,) = {fit_patches(photo.shape[-2], photo.shape[-1], long_side, net.patch) for photo in photos}
        resized = torch.cat(
            [F.interpolate(image, size=size, mode="bilinear", antialias=True) for image in images]
        ).clamp(0, 255)
        for mirrored in (False, True) if flip else (False,):
            logits = net(resized.flip(-1) if mirrored else resized).logits
            assert logits is not None
            logits = logits.flip(-1) if mirrored else logits
            for total, its in zip(totals, logits.float().split(1), strict=True):
                total += F.interpolate(its, size=total.shape[-2:], mode="bilinear", align_corners=False)[0]
    if not all(total.isfinite().all() for total in totals):
        raise InputError(
            "the network's logits are not finite (NaN or infinite): it has probably diverged; train it again with a "
            "smaller --lr"
        )
    return [total / (len(long_sides) * (2 if flip else 1)) for total in totals]


def foreground_saliency(
    net: Segmenter, photo: Tensor, long_sides: Sequence[int], *, flip: bool = False
) -> Tensor:
    """Saliency from a segmenter of some classes, for objects of any: the fifth root of 1 − p(background).

    A thing it has never seen it calls background, but with less certainty than what surrounds it: the root makes a
    probability of 1/32 half of the range (docs/saliency.md). Unlike attention's it is absolute: a photo without an
    object has none.

    Args:
        net: in eval mode.
        photo: (3,H,W) uint8.
        long_sides: the photo is resized to each, one pass each; the logits are averaged.
        flip: average with the mirrored photo.

    Returns:
        (H,W) float32 in [0,1], on the network's device.

    Raises:
        InputError: logits that are not finite.
    """
    foreground = 1 - photo_logits(net, photo, long_sides, flip=flip).softmax(0)[0]
    return foreground.clamp(0, 1) ** (1 / ROOT)
