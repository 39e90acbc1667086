"""The model that is explained: opened by name, with what its photos have to be and what its classes are called."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from getam.engine.model import load_model
from getam.engine.model_file import MODEL
from getam.engine.weights_hash import weights_hash
from getam.errors import InputError
from getam.frozen import frozen
from getam.maps.scores import class_scores
from getam.nets.class_names import ClassNames, class_names
from getam.nets.embedded import embedded_model
from getam.nets.hub import from_hub
from getam.nets.hugging_face import PREFIX, hugging_face_classifier
from getam.nets.network import Network
from getam.nets.preprocess import Preprocessing, preprocessing_of
from getam.nets.weights import load_backbone

TIMM = "timm:"
"""May stand before a timm name."""


class Subject:
    """A classifier, ours or not.

    Args:
        net: in eval mode; compiled, it is read as it was before.
        size: long side of its photos; the model's own when left out.
    """

    def __init__(self, net: nn.Module, size: int | None = None) -> None:
        self.net: nn.Module = getattr(
            net, "_orig_mod", net
        )  # not torch.compile's wrapper, which is of no kind
        self.size = size
        self._counted: int | None = None

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """How its photos are prepared. Raises `InputError` where the model does not say."""
        return preprocessing_of(self.net, self.size)

    @cached_property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next((weight.device for weight in self.net.parameters()), torch.device("cpu"))

    @cached_property
    def dtype(self) -> torch.dtype:
        """Of its weights: float16, bfloat16, float32, …"""
        return next((w.dtype for w in self.net.parameters() if w.is_floating_point()), torch.float32)

    def prepare(self, photo: Tensor) -> Tensor:
        """(3,H,W) uint8 → (1,3,h,w) as the model expects it, on its device and of its dtype."""
        return self.preprocessing(photo, self.device).to(self.dtype)

    def names(self, images: Tensor | None = None) -> ClassNames:
        """Of its classes; where the model does not say how many there are, prepared photos (B,3,h,w) count them."""
        if images is None or isinstance(getattr(self.net, "num_classes", None), int):
            return class_names(self.net)
        if self._counted is None:
            self._counted = self._scores(images[:1]).shape[1]
        return class_names(self.net, self._counted)

    def present(self, images: Tensor, k: int | None = None) -> list[list[int]]:
        """The classes found in each prepared photo (B,3,h,w).

        Args:
            k: the best k; None: those more likely there than not (ours), the best one at least, or the best one
                (others).
        """
        found = []
        for scores in self._scores(images):
            classes: list[int] = []
            if isinstance(self.net, Network):
                classes = (self.net.log_odds(scores[None])[0] > 0).nonzero().flatten().tolist()
            if k is not None or not classes:
                classes = scores.topk(min(k or 1, len(scores))).indices.tolist()
            found.append(classes)
        return found

    def _scores(self, images: Tensor) -> Tensor:
        with torch.no_grad(), frozen(self.net):
            return class_scores(self.net, images)


def is_file(model: str | Path | None) -> bool:
    """Whether it stands for a network of ours: a file or folder, or None for the embedded one; else it is a name."""
    return not str(model).startswith((PREFIX, TIMM)) and (
        model is None
        or Path(model).exists()
        or str(model).endswith(".safetensors")
        or isinstance(model, Path)
    )


def open_model(
    model: str | Path | None,
    weights: Path | None = None,
    *,
    any_size: bool = False,
    device: torch.device | str = "cpu",
) -> nn.Module:
    """A run folder, a model file, None for the embedded model, or a name: in eval mode.

    Names are timm's, with or without "timm:", or hf:FOLDER and hf:OWNER/NAME, classifiers of `transformers`.

    Raises:
        InputError: no such model, or `weights` or another photo size (`any_size`) for one that has its own.
        WeightsError: no weights: neither a file nor a reachable hub.
    """
    if is_file(model):
        if weights is not None:
            raise InputError("--weights belongs to a timm model name; a run folder or model file has its own")
        return load_model(model, device=device)
    name = str(model)
    if name.startswith(PREFIX):
        if weights is not None:
            raise InputError(f"--weights belongs to a timm model name; {name} has its own")
        return hugging_face_classifier(name.removeprefix(PREFIX)).to(device)
    return timm_classifier(name.removeprefix(TIMM), weights, any_size=any_size).to(device)


def hash_of(model: str | Path | None, weights: Path | None) -> str | None:
    """Of the file the weights of `open_model` come from; None where that is a hub."""
    if is_file(model):
        return weights_hash(embedded_model() if model is None else Path(model))
    folder = Path(str(model).removeprefix(PREFIX))
    if str(model).startswith(PREFIX) and (folder / MODEL).is_file():
        return weights_hash(folder)
    return None if weights is None else weights_hash(weights)


def timm_classifier(name: str, weights: Path | None = None, *, any_size: bool = False) -> nn.Module:
    """A timm classifier in eval mode with real weights: from a local file, or else from the hub.

    Args:
        name: timm's.
        weights: local safetensors file.
        any_size: build it to take photos of any size, in multiples of its patch.

    Raises:
        InputError: timm has no such model, or not for any size.
        WeightsError: the file does not fit, or there is no file and the hub cannot be reached.
    """
    if not timm.is_model(name.split(".")[0]):
        raise InputError(
            f"{name} is neither a file, a run folder nor a timm model: see `getam models` or "
            "timm.list_models('*vit*'); models of transformers are named hf:FOLDER or hf:OWNER/NAME"
        )
    options = {"dynamic_img_size": True} if any_size else {}
    try:
        with torch.device("meta"):
            timm.create_model(name, pretrained=False, **options)
    except TypeError:
        raise InputError(f"{name} takes photos of one size only: leave out --size") from None
    except RuntimeError as error:  # an unknown tag after the dot
        raise InputError(f"timm cannot build {name!r}: {error}") from None
    if weights is not None:
        net = timm.create_model(name, pretrained=False, **options)
        load_backbone(net, weights)
        return net.eval()
    return from_hub(lambda: timm.create_model(name, pretrained=True, **options), name).eval()
