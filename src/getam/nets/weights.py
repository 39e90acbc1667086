"""Load backbone weights from a local safetensors file, or from timm's hub; never silently from neither."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from getam.errors import WeightsError


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """State dict (float32) out of a safetensors file.

    Raises:
        WeightsError: the file is missing, or is not safetensors (pickles can run code and are refused).
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"weights file {path} does not exist: give the path of a .safetensors file")
    try:
        state = load_file(path)
    except (SafetensorError, ValueError) as error:
        raise WeightsError(
            f"{path} is not a readable safetensors file ({error}): save the weights as safetensors"
        ) from None
    return {name: t.float() if t.is_floating_point() else t for name, t in state.items()}


def mean_weights(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several state dicts, tensor by tensor; whole numbers, such as counts of batches, are the first's.

    Means something where the networks went on from one (Wortsman et al., arXiv 2203.05482).

    Raises:
        WeightsError: they are not of one shape.
    """
    first, *others = states
    for other in others:
        for name in {*first, *other}:
            if name not in first or name not in other or first[name].shape != other[name].shape:
                raise WeightsError(
                    f"networks that differ in {name} have no mean: average those that went on from one"
                )
    return {
        name: torch.stack([state[name].float() for state in states]).mean(0).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in first.items()
    }


def load_backbone(model: nn.Module, path: Path | str) -> None:
    """Fit the weights of a file (timm names) to a timm model in place; heads the model lacks are left out.

    Position embeddings are resampled to the model's grid.

    Raises:
        WeightsError: a tensor the model needs is missing or has another shape; the message names it.
    """
    state = read_weights(path)
    own = model.state_dict()
    if "pos_embed" in state and "pos_embed" in own and state["pos_embed"].shape != own["pos_embed"].shape:
        state["pos_embed"] = _resample(model, state["pos_embed"])
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    if missing:
        raise WeightsError(
            f"{path} lacks {len(missing)} of the {len(own)} tensors of {type(model).__name__}, e.g. {missing[0]}: "
            "are these weights of another backbone?"
        )
    wrong = [name for name in own if name in state and state[name].shape != own[name].shape]
    if wrong:
        name = wrong[0]
        raise WeightsError(
            f"{path}: {name} is {tuple(state[name].shape)} but the model's is {tuple(own[name].shape)}: are these "
            "weights of another size of the backbone?"
        )
    model.load_state_dict({name: state.get(name, value) for name, value in own.items()})


def load_body(net: nn.Module, path: Path | str, fresh: Collection[str]) -> None:
    """Fit all weights of a trained network's file to another network of its shape in place, but those of some modules.

    Args:
        net: what is to start from the file.
        path: a model file written by a run.
        fresh: dotted names of modules of `net` that keep the weights they have, as those that give classes.

    Raises:
        WeightsError: any other tensor is missing or has another shape; the message names it.
    """
    state, own = read_weights(path), net.state_dict()
    kept = {name for name in own if any(name.startswith(f"{module}.") for module in fresh)}
    for name in (name for name in own if name not in kept):
        if name not in state or state[name].shape != own[name].shape:
            there = tuple(state[name].shape) if name in state else "not there"
            raise WeightsError(
                f"{path} holds another network: {name} is {tuple(own[name].shape)} here and {there} in the file; leave "
                "out options of the network's shape, such as --backbone, or give other --weights"
            )
    net.load_state_dict({name: value if name in kept else state[name] for name, value in own.items()})


def _resample(model: Any, embedding: Tensor) -> Tensor:
    prefix = 0 if getattr(model, "no_embed_class", False) else int(model.num_prefix_tokens)
    grid = model.patch_embed.grid_size
    with torch.no_grad():
        return resample_abs_pos_embed(embedding, list(grid), num_prefix_tokens=prefix)
