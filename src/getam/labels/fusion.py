"""Saliency and maps vote on labels, and a segmenter's masks repair them: I2CRC (arXiv 2206.09554)."""

from __future__ import annotations

import torch
from torch import Tensor

from getam.errors import InputError
from getam.label_numbers import IGNORE
from getam.labels.inputs import require_fitting, require_shallow, unit_saliency

# All numbers: the published code of arXiv 2206.09554.
LEAST_SCORE = 0.3  # weaker scores, of the background too, do not take part
CERTAIN = 0.9  # two scores above it contradict each other
ACTIVE = 0.5  # a map above it speaks against background
LEAST_DOUBT = 32 / 255  # saliency from which on background is in doubt, of maps that are black there
LEAST_FOREGROUND = 0.01  # share of the photo below which nothing is believed


def saliency_fusion(maps: Tensor, classes: Tensor, saliency: Tensor, *, doubt: float = LEAST_DOUBT) -> Tensor:
    """Pseudo labels from maps and saliency.

    1. Scores: 1 − saliency for the background, every map brought to [0,1] by its minimum and maximum for its class.
       Scores below 0.3 become 0; the label is the arg-max, background and then the earlier slot where equal.
    2. 255 where more than one score is above 0.9, and where background wins although the saliency is at least `doubt`
       or a map is above 0.5.
    3. Photos with less than 1 % foreground are 255 everywhere, as are those without a tag.

    Args:
        maps: (B,K,H,W) float ≥ 0, of any magnitude; a constant one is taken as 0. Slots beyond a photo's tags are
            ignored.
        classes: (B,K) int64 class index per slot, −1 where there is none.
        saliency: (B,H,W) in [0,1].
        doubt: in [0,1]. The published 32/255 leaves no background at all with maps that are nowhere darker than it.

    Returns:
        (B,H,W) uint8: 0 background, class index + 1, 255 undecided.

    Raises:
        InputError: shapes that do not belong together, values that are not finite, saliency or `doubt` outside [0,1].

    >>> maps = torch.tensor([[[[0.0, 1.0, 0.6, 1.0]]]])
    >>> saliency = torch.tensor([[[0.0, 1.0, 0.3, 0.05]]])  # agrees, agrees, hardly, contradicts
    >>> saliency_fusion(maps, torch.tensor([[6]]), saliency).tolist()
    [[[0, 7, 255, 255]]]
    """
    if not 0 <= doubt <= 1:
        raise InputError(
            f"the saliency from which on background is in doubt is {doubt}: it must lie in 0 to 1."
        )
    require_fitting(maps, classes, saliency=saliency)
    maps, salient = maps.float(), unit_saliency(saliency)
    valid = (classes >= 0)[..., None, None]
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    unit = torch.where(valid & (high > low), (maps - low) / torch.where(high > low, high - low, 1), 0)
    scores = torch.cat([1 - salient[:, None], unit], 1)
    scores = torch.where(scores < LEAST_SCORE, 0, scores)
    names = torch.cat([classes.new_zeros(len(classes), 1), classes.clamp(min=-1) + 1], 1)
    winner = scores.argmax(1)
    label = names.gather(1, winner.flatten(1)).view_as(winner).to(torch.uint8)
    contradiction = (scores > CERTAIN).sum(1) > 1
    doubtful = (salient >= doubt) | (unit > ACTIVE).any(1)
    label[contradiction | ((label == 0) & doubtful)] = IGNORE
    return _disbelieve_empty(label)


def object_guided_refinement(prediction: Tensor, initial: Tensor, classes: Tensor) -> Tensor:
    """Labels for a second training, from a segmenter's masks, the labels it was trained on and the photo's tags.

    1. Predicted classes that are no tag of the photo become 255.
    2. Photos of two or more tags: where the prediction is background and the initial label is not, the initial label is
       taken, its 255 included.
    3. Where the prediction misses one of the tags altogether, what is background by now becomes 255.
    4. Photos with less than 1 % foreground are 255 everywhere.

    Args:
        prediction: (B,H,W) integer, 0 background, class index + 1, 255 undecided; I2CRC takes it after a dense CRF.
        initial: (B,H,W) integer, the same way: the labels the segmenter learned from.
        classes: (B,K) int64 class index per slot, −1 where there is none.

    Returns:
        (B,H,W) uint8.

    Raises:
        InputError: shapes that do not belong together.

    >>> prediction = torch.tensor([[[0, 0, 5, 9]]])
    >>> initial = torch.tensor([[[0, 8, 5, 5]]])
    >>> object_guided_refinement(prediction, initial, torch.tensor([[4, 7]])).tolist()  # nothing predicts tag 7
    [[[255, 8, 5, 255]]]
    """
    if prediction.ndim != 3 or prediction.shape != initial.shape or classes.shape[:1] != prediction.shape[:1]:
        raise InputError(
            f"prediction {tuple(prediction.shape)}, initial labels {tuple(initial.shape)} and classes "
            f"{tuple(classes.shape)} do not belong together: expected (B,H,W) twice and (B,K)."
        )
    require_shallow(classes)
    label = prediction.to(torch.uint8, copy=True)
    for photo, (own, predicted, first) in enumerate(zip(classes, prediction.long(), initial)):
        tags = own[own >= 0].unique().long() + 1
        stranger = (predicted != 0) & ~torch.isin(predicted, tags)
        label[photo][stranger] = IGNORE
        if len(tags) >= 2:
            missed = (predicted == 0) & (first != 0)
            label[photo][missed] = first[missed].to(torch.uint8)
        if not bool(torch.isin(tags, predicted).all()):
            label[photo][label[photo] == 0] = IGNORE
    return _disbelieve_empty(label)


def _disbelieve_empty(label: Tensor) -> Tensor:
    """(B,H,W) uint8, changed in place: photos with too little foreground become 255."""
    foreground = ((label != 0) & (label != IGNORE)).float().mean((1, 2))
    label[foreground < LEAST_FOREGROUND] = IGNORE
    return label
