"""From a photo and its tags to the file of its mask: what `getam label` does photo by photo, in any process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from getam.data.confidences import with_confidences
from getam.data.fingerprint import file_hash
from getam.data.masks import encode_mask
from getam.engine.model import load_model
from getam.engine.model_file import MODEL
from getam.engine.weights_hash import weights_hash
from getam.errors import InputError
from getam.labels.enlarge import enlarged
from getam.named import write_named
from getam.nets.embedded import embedded_model
from getam.nets.network import Network
from getam.pipeline import Pipeline
from getam.verbs.loading import require_known
from getam.verbs.words import words_model


@dataclass(frozen=True)
class NetworkSource:
    """Where a network comes from, in plain values that another process can be sent.

    Attributes:
        model: run folder or model file, or the name of an image–text model; None for the embedded model.
        weights: of an image–text model, its file.
        words: what an image–text model looks for, synonyms joined by "|"; None for all others.
        background_words: as on the command line.
    """

    model: Path | None = None
    weights: Path | None = None
    words: tuple[str, ...] | None = None
    background_words: tuple[str, ...] | None = None

    def open(self, device: torch.device | str = "cpu") -> Network:
        """The network, in eval mode.

        Raises:
            InputError, WeightsError: as `load_model` or `words_model`; or weights for a model that has its own.
        """
        if self.words is not None:
            return words_model(
                str(self.model), self.weights, self.words, self.background_words, torch.device(device)
            )
        if self.weights is not None:
            raise InputError(
                "--weights belongs to an image–text model; a run folder or model file has its own"
            )
        return load_model(self.model, device=device)

    def file(self) -> Path | None:
        """Where its weights are; None for the embedded model, which every installation has."""
        if self.weights is not None or self.model is None:
            return self.weights
        return self.model / MODEL if self.model.is_dir() else self.model

    def moved(self, file: Path) -> NetworkSource:
        """The same, its weights in another file."""
        return replace(self, model=file) if self.weights is None else replace(self, weights=file)

    def sha256(self) -> str:
        """Of the weights: of the tensors of a model file, or of an image–text model's file."""
        return (
            weights_hash(self.model or embedded_model()) if self.weights is None else file_hash(self.weights)
        )


@dataclass(frozen=True)
class TagsToMask:
    """Photo, saliency and tags → the PNG of the mask.

    Attributes:
        net: makes the maps.
        pipeline: map method, refiners and label rule.
    """

    net: Network
    pipeline: Pipeline

    def __call__(self, photo: Tensor, saliency: Tensor | None, tags: Sequence[str]) -> Callable[[], bytes]:
        """What the network has to do is done at once; encoding is left to the call of what is returned.

        Args:
            photo: (3,H,W) uint8.
            saliency: (H,W) float in [0,1], or None.
            tags: names of classes of the network; without one all of the mask is background.

        Returns:
            What gives the palette PNG of (H,W), with a confidence for each tag; any thread may call it.
        """
        own = [self.net.classes.index(tag) for tag in tags]
        if not own:
            blank = self.pipeline.label(self.net, photo, own, saliency)
            return lambda: encode_mask(blank.numpy())
        evidence = self.pipeline.evidence(self.net, photo, own, saliency)
        small = self.pipeline.decide(evidence)
        sure = self.pipeline.confidences(evidence, small, self.net.classes)
        made = enlarged(small, (photo.shape[-2], photo.shape[-1]))
        return lambda: with_confidences(encode_mask(made.cpu().numpy()), sure)


def check_tags(
    classes: Sequence[str], tags: Iterable[Sequence[str]], net: Network, pipeline: Pipeline, *, saliency: bool
) -> None:
    """Before the first photo is read: the network knows all tags, and the pipeline can work on it with these.

    Args:
        classes: names of all tags.
        tags: of each photo.
        net, pipeline: what makes the masks.
        saliency: whether photos come with saliency maps.

    Raises:
        InputError: it does not know a tag, or as `Pipeline.check`.
        CaptureError: the method cannot read the network.
    """
    require_known(classes, net.classes)
    several = any(len(own) > 1 for own in tags)
    pipeline.check(saliency=saliency, several_tags=several, net=net)


def call_of(
    origin: NetworkSource, pipeline: Pipeline, data: Path | str, source: Path | str | None, words: Path | None
) -> dict[str, Any]:
    """What decides on all masks of a call, for its protocol.

    Args:
        origin, pipeline: what makes the masks.
        data: the photos.
        source: of the saliency maps; None for none.
        words: the table of words, of an image–text model.
    """
    used = f"{pipeline.labeller(saliency=source is not None)}{write_named(pipeline.label_options)}"
    options = {
        "data": data, "model": origin.model, "saliency": source, "method": pipeline.method, "refine": pipeline.refine,
        "labels": used, "scales": pipeline.scales, "flip": pipeline.flip,
        **pipeline.method_options,
        **({"weights": origin.weights, "words": words, "background_words": origin.background_words} if words else {}),
    }  # fmt: skip
    return {"verb": "label", "weights_sha256": origin.sha256(), "options": options}
