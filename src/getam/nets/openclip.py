"""A classifier of words out of an OpenCLIP model and a local file of its weights: `open_clip:ViT-B-16`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from getam.data.tags import suggest
from getam.errors import InputError, WeightsError
from getam.nets.weights import read_weights
from getam.nets.words import BACKGROUND_WORDS, WordClassifier, word_classifier

PREFIX = "open_clip:"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's photos (arXiv 2103.00020, its released models), for models that name no others."""


def open_clip_words(
    model: str,
    weights: Path | str | None,
    words: Sequence[str],
    *,
    background: Sequence[str] = BACKGROUND_WORDS,
    device: torch.device | str = "cpu",
) -> WordClassifier:
    """The classifier of `words` (`getam.nets.words.word_classifier`), in eval mode.

    Args:
        model: "open_clip:" and a name of `open_clip.list_models()`. OpenAI's own weights belong to names that end in
            -quickgelu.
        weights: local file with OpenCLIP's names: safetensors, or a checkpoint of tensors alone.
        words, background: as `word_classifier`.
        device: where it is put.

    Raises:
        InputError: open_clip_torch is not installed, it has no such model, or no file or no words were given.
        WeightsError: the file or the tokeniser cannot be had, or the weights are another model's.
    """
    name = model.removeprefix(PREFIX)
    try:
        import open_clip
    except ImportError:
        raise InputError(f"{model} needs the package open_clip_torch: pip install 'getam[words]'") from None
    if name not in open_clip.list_models():
        raise InputError(f"OpenCLIP has no model {name!r}; {suggest(name, open_clip.list_models())}")
    if weights is None:
        raise InputError(
            f"{model} needs weights from a local file: give one with --weights, such as open_clip_model.safetensors of "
            "a model published for OpenCLIP"
        )
    state = _read(Path(weights))
    with (
        _quiet(),
        torch.random.fork_rng(devices=[]),
    ):  # building draws initial weights; loading a model must not
        try:
            built: Any = open_clip.create_model(name).eval()
            tokenise = open_clip.get_tokenizer(name)
        except Exception as error:  # whatever its hub clients raise for text sides that are not its own
            raise WeightsError(f"{model} cannot be built without a network: {error}") from None
    _fit(built, state, weights)
    tower = built.to(device).visual
    side = tower.image_size
    statistics = [
        getattr(tower, f"image_{kind}", None) or own for kind, own in (("mean", MEAN), ("std", STD))
    ]
    mean, std = ([255.0 * value for value in each] for each in statistics)
    return word_classifier(
        built, tokenise, words, background=background, side=side if isinstance(side, int) else max(side),
        mean=mean, std=std,
    ).to(device).eval()  # fmt: skip


def _read(weights: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file or of a checkpoint, without code that a pickle could carry."""
    if weights.suffix == ".safetensors" or not weights.is_file():
        return read_weights(weights)
    try:
        held: Any = torch.load(weights, map_location="cpu", weights_only=True)
    except (
        Exception
    ) as error:  # whatever the unpickler raises for what is no checkpoint, or more than tensors
        raise WeightsError(
            f"{weights} is not a checkpoint of tensors alone ({type(error).__name__}): a TorchScript archive, or a "
            "file that could run code; save its state_dict as safetensors"
        ) from None
    state = held.get("state_dict", held) if isinstance(held, dict) else None
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise WeightsError(f"{weights} holds no state_dict of tensors: give a checkpoint of OpenCLIP")
    return {
        name.removeprefix("module."): t.float() if t.is_floating_point() else t for name, t in state.items()
    }


def _fit(model: Any, state: dict[str, Tensor], weights: Path | str) -> None:
    """Load all tensors of the model; a scale may be stored as one number or as a list of one."""
    own = model.state_dict()
    for name in ("logit_scale", "logit_bias"):
        if name in state and name in own and state[name].numel() == own[name].numel():
            state[name] = state[name].reshape(own[name].shape)
    wrong = [name for name in own if name not in state or state[name].shape != own[name].shape]
    if wrong:
        name = wrong[0]
        there = f"is {tuple(state[name].shape)} there" if name in state else "is not there"
        raise WeightsError(
            f"{weights} does not fit the model: {name} {there} but {tuple(own[name].shape)} in the model, and "
            f"{len(wrong)} of {len(own)} tensors differ: are these weights of another model?"
        )
    model.load_state_dict({name: state[name] for name in own})


@contextmanager
def _quiet() -> Iterator[None]:
    """Without OpenCLIP's warning that the weights are random: they are loaded next."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
