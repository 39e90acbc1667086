"""Labels from a trained segmenter that is told the tags: the second training of two-stage systems learns from these.

What a segmenter gets wrong most is which class an object is; the tags say that. What they cannot say is where it ends:
where the saliency map and the segmenter disagree about that, nothing is decided.
"""

from __future__ import annotations

import torch
from torch import Tensor

from getam.errors import InputError
from getam.label_numbers import IGNORE
from getam.labels.inputs import require_shallow, unit_saliency

SALIENT = 0.5  # half of the range, not tuned


def told_beliefs(logits: Tensor, classes: Tensor) -> Tensor:
    """Probabilities over the background and the photo's tags; every other class has none.

    Args:
        logits: (C+1,H,W) of one photo, background first.
        classes: (K,) int64 class indices of the photo's tags; −1 where there is none.

    Returns:
        (1+K',H,W) float32 summing to 1, for the background and the K' ≤ K tags in their order.

    Raises:
        InputError: a tag beyond the C classes.

    >>> told_beliefs(torch.zeros(4, 1, 1), torch.tensor([2, -1])).flatten().tolist()
    [0.5, 0.5]
    """
    present = classes[classes >= 0]
    if len(present) and int(present.max()) + 1 >= len(logits):
        raise InputError(f"tag {int(present.max())} is beyond the {len(logits) - 1} classes of the logits")
    rows = torch.cat([present.new_zeros(1), present + 1])
    return logits[rows].float().softmax(0)


def told_label(
    beliefs: Tensor, classes: Tensor, saliency: Tensor | None = None, *, least: float = 0.0
) -> Tensor:
    """The most probable of background and tags, 255 where that is doubtful.

    Args:
        beliefs: (1+K,H,W) probabilities of the background and of the tags, as from `told_beliefs`, with or without a
            dense CRF since.
        classes: (K,) int64 class index of each tag, without −1.
        saliency: (H,W) in [0,1]; where it is above ½ and the label background, or the other way round, the label is
            255. None: every pixel is decided by the beliefs.
        least: pixels whose winner has a smaller probability are 255, in [0,1].

    Returns:
        (H,W) uint8: 0 background, class index + 1, 255 undecided. A photo without a tag is background, whatever is
        salient in it.

    Raises:
        InputError: shapes that do not belong together, `least` or saliency outside [0,1].

    >>> beliefs = torch.tensor([[[0.9, 0.2, 0.4]], [[0.1, 0.8, 0.6]]])
    >>> told_label(beliefs, torch.tensor([4]), torch.tensor([[0.0, 1.0, 0.2]])).tolist()
    [[0, 5, 255]]
    """
    if len(beliefs) != len(classes) + 1 or (saliency is not None and saliency.shape != beliefs.shape[1:]):
        seen = "none" if saliency is None else tuple(saliency.shape)
        raise InputError(
            f"beliefs {tuple(beliefs.shape)}, {len(classes)} classes and saliency {seen} do not belong together: "
            "expected (1+K,H,W), (K,) and (H,W)"
        )
    require_shallow(classes)
    if not 0 <= least <= 1:
        raise InputError(f"the least belief {least} is not in [0,1]")
    names = torch.cat([classes.new_zeros(1), classes + 1]).to(torch.uint8)
    certainty, winner = beliefs.max(0)
    label = names[winner]
    label[certainty < least] = IGNORE
    if saliency is not None and len(classes):
        salient = unit_saliency(saliency) > SALIENT
        label[(label != IGNORE) & ((label != 0) != salient)] = IGNORE
    return label
