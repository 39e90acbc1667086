"""ClassMix: objects of one photo pasted into another, label and all (Olsson et al., arXiv 2007.07936)."""

from __future__ import annotations

import torch
from torch import Tensor

from getam.label_numbers import ignore_label


def class_mix(images: Tensor, masks: Tensor, tags: Tensor, share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Paste half of the classes of each photo's neighbour in the batch, drawn anew, into a share of the photos.

    Unlike the paper's, the background is never pasted: an object comes without its surroundings, and what is undecided
    stays behind.

    Args:
        images: (B,3,H,W).
        masks: (B,H,W) integer, 0 background, 1..C classes, or undecided (`ignore_label`).
        tags: (B,C) with 1 for the classes of a photo.
        share: of the photos that are pasted into, in [0,1].

    Returns:
        Images, masks and tags like the given ones, which are left as they are; a photo's tags are its own and those
        pasted into it. Draws from torch's global random numbers.
    """
    images, masks, tags = images.clone(), masks.clone(), tags.clone()
    givers = list(zip(images.roll(1, 0), masks.roll(1, 0), strict=True))
    for index, (image, mask) in enumerate(givers):
        if torch.rand(()) >= share:
            continue
        classes = mask.unique()
        classes = classes[(classes != 0) & (classes != ignore_label(tags.shape[1]))]
        chosen = classes[torch.randperm(len(classes))[: (len(classes) + 1) // 2].to(classes.device)]
        pasted = torch.isin(mask, chosen)
        images[index] = torch.where(pasted, image, images[index])
        masks[index] = torch.where(pasted, mask, masks[index])
        tags[index, chosen.long() - 1] = 1
    return images, masks, tags
