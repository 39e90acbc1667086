"""Photos → label maps with a network in torch: its logits, sharpened by a dense CRF on request."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from getam.data.confidences import confidences
from getam.data.masks import LabelMap
from getam.label_numbers import Among
from getam.labels.deep import torch_label_dtype
from getam.labels.winner import winner
from getam.nets.inference import enlarged_labels, photo_logits, shrunk_photo
from getam.nets.segmenter import Segmenter
from getam.photo_size import WORK_SIDE
from getam.refine.crf import dense_crf
from getam.refine.crf_parameters import DEEPLAB
from getam.refine.scaled import shrunk


def segment(
    net: Segmenter,
    photo: Tensor,
    scales: tuple[int, ...] | None = None,
    *,
    flip: bool = False,
    crf: bool = False,
    present: Sequence[int] | None = None,
) -> LabelMap:
    """One photo (3,H,W) in 0–255 → label (H,W) uint8, 0 background, class index + 1; wider beyond 254 classes.

    `scales` are long sides, the network's own when left out. Only the classes of the indices `present` may win where
    they are given.
    """
    scales = scales or (net.side,)
    small = shrunk_photo(photo, max(WORK_SIDE, *scales))
    size = (photo.shape[-2], photo.shape[-1])
    return mask_of(net, small, scales, size, flip=flip, crf=crf, present=present)[0]


def decide(logits: Tensor, photo: Tensor, *, crf: bool = False) -> Tensor:
    """Logits (C+1,H,W) of a photo (3,H,W) → label (H,W) uint8, sharpened by a dense CRF on request.

    The CRF's parameters are in pixels of photos of about 500: larger ones are brought to that first.
    """
    return enlarged_labels(decisive(logits, photo, crf=crf)[1], (photo.shape[-2], photo.shape[-1]))


def decisive(logits: Tensor, photo: Tensor, *, crf: bool) -> tuple[Tensor, Tensor]:
    """Logits (C+1,H,W) of a photo (3,H,W) → the network's probabilities, and the values of which the largest wins.

    Both (C+1,h,w): with a CRF of the photo's size or 500 at most, else of the photo's size.
    """
    beliefs = logits.softmax(0)
    if not crf:
        return beliefs, logits
    beliefs = shrunk(beliefs[None])[0]
    return beliefs, sharpened(beliefs, photo)


def named_mask(
    beliefs: Tensor, values: Tensor, size: tuple[int, int], among: Among
) -> tuple[LabelMap, dict[str, float]]:
    """What `decisive` gives of what may win, (K+1,h,w) both → the label (H,W) of a `size`, and class name → confidence.

    The label is uint8, 16 bits or more beyond 254 classes; confidences are of the probabilities, values decide.
    """
    won = winner(values)
    label = (
        won.to(torch_label_dtype(len(among.names))) if won.shape == size else enlarged_labels(values, size)
    )
    return among.labels(label.cpu().numpy()), confidences(beliefs.cpu(), won.cpu(), among.names)


def mask_of(
    net: Segmenter,
    photo: Tensor,
    scales: Sequence[int],
    size: tuple[int, int],
    *,
    flip: bool,
    crf: bool,
    present: Sequence[int] | None,
) -> tuple[LabelMap, dict[str, float]]:
    """One photo (3,h,w) in 0–255, or its smaller copy → the label (H,W) of a `size`, and class name → confidence.

    Confidences are of the network's probabilities before the CRF, shared among what may win: all, or `present`.
    """
    among = Among(net.classes, present)
    logits = among.of(photo_logits(net, photo, scales, flip=flip))
    beliefs, values = decisive(logits, photo, crf=crf)
    return named_mask(beliefs, values, size, among)


def sharpened(beliefs: Tensor, photo: Tensor) -> Tensor:
    """Probabilities (C+1,h,w) of a photo (3,H,W) → those after a dense CRF, of the photo's size or 500 at most."""
    image = photo.to(beliefs.device, torch.float32)[None]
    return dense_crf(shrunk(image), shrunk(beliefs[None]), parameters=DEEPLAB)[0]
