"""A timm CNN cut into parts that follow one another, each ending with a stage: networks that read between them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import torch
from torch import nn

from getam.errors import InputError

PROBE: Final = 64  # pixels: photo side on which the parts are compared with the whole
HEADS = ("global_pool", "head", "pre_logits")  # where timm's CNNs stop to have a grid


def in_stages(model: Any, name: str, count: int) -> list[nn.Sequential]:
    """A timm CNN as `count` parts: up to the end of the last stage but `count` − 1, then stage by stage to the pooling.

    What follows the pooling (MobileNetV3's last layer, ConvNeXt's norm) is left out: a class score map needs a grid.

    Args:
        model: as `classifier.timm_body` gives it.
        name: what the message calls it.
        count: at least 1.

    Raises:
        InputError: the model is no sequence of so many stages; the message names it.
    """
    refused = InputError(
        f"{name} cannot be split into stages that follow one another: choose a CNN of timm such as "
        "tf_efficientnet_lite0, mobilenetv2_100, resnet50 or regnety_016"
    )
    stages = [entry["module"] for entry in getattr(model, "feature_info", None) or []]
    if len(stages) < max(2, count):
        raise refused
    container = stages[-2].rpartition(".")[0]
    parts: list[tuple[str, nn.Module]] = []
    for child, module in model.named_children():
        inside = module.named_children() if child == container else [("", module)]
        parts += [(f"{child}.{part}".rstrip("."), found) for part, found in inside]
    names = [part for part, _ in parts]
    ends = stages[len(stages) - count : -1]
    if not set(ends) <= set(names):
        raise refused
    end = next((i for i, part in enumerate(names) if part.startswith(HEADS)), len(names))
    cuts = [0, *(names.index(stage) + 1 for stage in ends), end]
    found = [_sequence(parts[start:stop]) for start, stop in pairwise(cuts)]
    if not all(map(len, found)) or not _same(model, found):
        raise refused
    return found


@torch.no_grad()
def channels(parts: Sequence[nn.Module]) -> list[int]:
    """Channels of what each part gives; the parts are left in eval mode."""
    found, features = [], torch.zeros(1, 3, PROBE, PROBE)
    for part in parts:
        features = part.eval()(features)
        found.append(int(features.shape[1]))
    return found


def _sequence(parts: Sequence[tuple[str, nn.Module]]) -> nn.Sequential:
    return nn.Sequential(OrderedDict((name.replace(".", "_"), module) for name, module in parts))


@torch.no_grad()
def _same(model: Any, parts: Sequence[nn.Module]) -> bool:
    """Whether the parts in a row give the features of the whole, here and not only on paper."""
    was = model.training
    model.eval()
    photo = torch.rand(1, 3, PROBE, PROBE, generator=torch.Generator().manual_seed(0))
    try:
        whole, found = model.forward_features(photo), nn.Sequential(*parts)(photo)
        # Swin's grids come before their channels.
        return whole.ndim == 4 and whole.shape[1] == model.num_features and torch.equal(whole, found)
    except (
        RuntimeError,
        TypeError,
        ValueError,
        AssertionError,
    ):  # parts that need more than their predecessor's output
        return False
    finally:
        model.train(was)
