"""What a network knows of photos it was not trained on."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from getam.data.tag_dataset import TagDataset
from getam.nets.network import Network, evaluating


@torch.no_grad()
def held_out_scores(net: Network, crops: TagDataset, batch_size: int) -> tuple[Tensor, Tensor]:
    """Class logits by which photos can be compared, and tags, both (N,C) float32 on the CPU, of all crops.

    The network's mode stays as it is.

    A tag is 1 where the class is, 0 where it is not, −1 where nobody looked.

    Args:
        net: on its device.
        crops: N of them.
        batch_size: photos at once.
    """
    device = next(net.parameters()).device
    scores, tags = [], []
    with evaluating(net):
        for batch in DataLoader(crops, batch_size, generator=torch.Generator()):
            scores.append(net.log_odds(net.class_scores(batch["image"].to(device)).float()).cpu())
            tags.append(batch["tags"].masked_fill(~batch["known"], -1) if "known" in batch else batch["tags"])
    return torch.cat(scores), torch.cat(tags)
