"""Load a trained network from a run folder, from its model file, or the one that comes with the package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from getam.engine.model_file import MODEL, read_metadata
from getam.errors import GetamError, InputError, WeightsError
from getam.nets.adversarial import AdversarialSegmenter
from getam.nets.affinity import AffinitySegmenter
from getam.nets.bas import BASNetwork, build_bas
from getam.nets.boundary import BoundaryNetwork, build_boundaries
from getam.nets.build import FROM_NOTHING, build_segmenter
from getam.nets.cam_network import CAMNetwork, build_cam_network
from getam.nets.classifier import Classifier, build_classifier
from getam.nets.cosine import CosineClassifier, build_cosine
from getam.nets.embedded import embedded_model
from getam.nets.network import Network
from getam.nets.score_map import ScoreMapClassifier, build_score_map
from getam.nets.segmenter import Segmenter
from getam.nets.sipe import SIPENetwork, build_sipe
from getam.nets.token_classifier import TokenClassifier, build_token_classifier
from getam.nets.weights import read_weights

WITHOUT_DECODER: dict[str, Callable[..., Network]] = {
    Classifier.kind: build_classifier,
    BASNetwork.kind: build_bas,
    CAMNetwork.kind: build_cam_network,
}


def load_model(path: Path | str | None = None, *, device: torch.device | str = "cpu") -> Network:
    """A trained network in eval mode, float32.

    Args:
        path: run folder, or model file written by a run; None: the model embedded in the package.
        device: where it is put; `getam.engine.device.choose_device` knows what there is.

    Raises:
        InputError: there is nothing at the path, or a run folder without a model yet.
        WeightsError: the file is not a model of getam.
    """
    file = embedded_model() if path is None else Path(path)
    if file.is_dir():
        if not (file / MODEL).is_file():
            raise InputError(
                f"{file} holds no {MODEL}: is it a run folder, and has its run saved a model yet?"
            )
        file = file / MODEL
    if not file.is_file():
        raise InputError(f"model {file} does not exist: give a run folder or a .safetensors file")
    kind, classes, config = read_metadata(file)
    try:
        with torch.random.fork_rng(devices=[]):  # building draws initial weights; loading a model must not
            net = _build(kind, classes, config, file)
    except GetamError:
        raise
    except Exception as error:  # whatever a network raises that is built from nonsense
        reason = f"{error} is missing" if isinstance(error, KeyError) else _one_line(error)
        raise WeightsError(
            f"the metadata of {file} describes no network that can be built ({reason}): copy the {MODEL} of its run "
            "again"
        ) from None
    try:
        net.load_state_dict(read_weights(file))
    except RuntimeError as error:
        raise WeightsError(
            f"{file} does not fit the network its metadata describes: {_one_line(error)}"
        ) from None
    return net.to(device).to(memory_format=torch.channels_last).eval()


def load_segmenter(path: Path | str | None = None, *, device: torch.device | str = "cpu") -> Segmenter:
    """As `load_model`, for those who need masks.

    Raises:
        InputError: as `load_model`, or the network has no decoder.
    """
    net = load_model(path, device=device)
    if not isinstance(net, Segmenter):
        raise InputError(
            f"{path} holds a {net.kind} without a decoder, which cannot predict masks: use `getam label` with tags or "
            "`getam explain`, or train with --recipe getam"
        )
    return net


def _one_line(error: Exception) -> str:
    """The first line that says something, of errors that list every tensor."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) if lines else type(error).__name__


def _build(kind: str, classes: tuple[str, ...], config: dict[str, Any], file: Path) -> Network:
    for network in (Segmenter, AffinitySegmenter, AdversarialSegmenter):
        if kind == network.kind:
            sizes = (config["channels"], config["width"], config["enlarge"])
            net = build_segmenter(config["backbone"], classes, *sizes, weights=FROM_NOTHING, network=network)
            net.crop = int(config["size"]) if "size" in config else None
            return net
    if kind in WITHOUT_DECODER:
        build = WITHOUT_DECODER[kind]
        return build(config["backbone"], classes, weights=FROM_NOTHING, output_stride=config["output_stride"])
    if kind == TokenClassifier.kind:
        return build_token_classifier(config["backbone"], classes, weights=FROM_NOTHING)
    if kind == BoundaryNetwork.kind:
        stride, frozen = config["output_stride"], config["frozen"]
        return build_boundaries(
            config["backbone"], classes, weights=FROM_NOTHING, output_stride=stride, frozen=frozen
        )
    if kind == SIPENetwork.kind:
        return build_sipe(
            config["backbone"], classes, weights=FROM_NOTHING, output_stride=config["output_stride"],
            branches=config["branches"],
        )  # fmt: skip
    if kind == CosineClassifier.kind:
        return build_cosine(
            config["backbone"], classes, weights=FROM_NOTHING, output_stride=config["output_stride"],
            bottleneck=config["bottleneck"],
        )  # fmt: skip
    if kind == ScoreMapClassifier.kind:
        width, stride = config["head_width"], config["output_stride"]
        return build_score_map(config["backbone"], classes, width, weights=FROM_NOTHING, output_stride=stride)
    raise WeightsError(
        f"{file} holds a network of kind {kind!r}, unknown to this version of getam: update it"
    )
