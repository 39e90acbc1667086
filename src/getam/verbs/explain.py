"""`getam explain`: class-specific maps of any timm classifier, or of a network of ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from timm.data import ImageNetInfo, resolve_model_data_config
from torch import Tensor, nn

from getam.data.photos import as_tensor, read_photo
from getam.data.tags import suggest
from getam.engine.device import AUTO, choose_device
from getam.engine.model import load_model
from getam.errors import InputError
from getam.maps.base import Maps, check_photos, class_scores
from getam.maps.registry import check_options, find_method
from getam.nets.embedded import embedded_model
from getam.nets.hub import from_hub
from getam.nets.inference import fit_patches, shrunk_photo
from getam.nets.network import Network
from getam.nets.openclip import file_hash
from getam.nets.weights import load_backbone
from getam.refine.scaled import LONG_SIDE, refine_maps
from getam.report.overlay import heat_overlay
from getam.verbs.outputs import Job, OutputFolder, weights_hash
from getam.verbs.photo_by_photo import Encode, OnBadImage, check_on_bad_image, photo_by_photo
from getam.verbs.predict import WORK_SIDE, photo_jobs
from getam.verbs.words import reads_words, words_model

IMAGENET_CLASSES = 1000
WHOLE_PHOTOS = 1  # in memory before and after their turn: the pictures need them at full size


def explain(
    model: nn.Module | str | Path | None,
    images: Tensor,
    classes: Sequence[Sequence[int]] | Tensor,
    *,
    method: str = "getam",
    **options: Any,
) -> Maps:
    """Which pixels carry each class: maps of a batch of photos, one forward, one partial backward per class slot.

    Args:
        model: a timm vision transformer or CNN, a network of ours, or what names one: a run folder, a model file, None
            for the embedded model. It is left exactly as it was.
        images: (B,3,H,W) float; normalised as the model expects for timm models, 0–255 for ours.
        classes: per-photo class lists [[3, 7], [1]] (slot k of photo b is its k-th listed class), or tags (B,C).
        method: a name that `getam.methods()` lists: "getam", "gradcam", "zoom-cam", …
        options: of the method: for "getam" coupling, start and rows.

    Returns:
        `Maps`: values (B,K,h,w) float32 ≥ 0 on the grid of the method, valid, classes, scores.

    Raises:
        InputError: unknown method, bad classes or options, images of another shape, or numbers that are not finite.
        CaptureError: the model's attention or features cannot be read; the message says why.
    """
    chosen = find_method(method)
    check_options(chosen, options)
    check_photos(images)
    net = model if isinstance(model, nn.Module) else load_model(model)
    return chosen.make(net, images, classes, **options)


def explain_photos(
    photos: Path,
    /,
    *,
    model: str | None = None,
    weights: Path | None = None,
    words: tuple[str, ...] | None = None,
    background_words: tuple[str, ...] | None = None,
    classes: tuple[str, ...] | None = None,
    out: Path = Path("maps"),
    method: str = "getam",
    coupling: str | None = None,
    start: int | None = None,
    rows: str | None = None,
    layers: tuple[str, ...] | None = None,
    weighting: str | None = None,
    aggregate: str | None = None,
    size: int | None = None,
    refine: bool = True,
    device: str = AUTO,
    on_bad_image: OnBadImage = "fail",
    overwrite: bool = False,
) -> Path:
    """Draw which pixels of a photo carry each class.

    A call that was interrupted goes on when it is repeated.

    Args:
        photos: one photo, or a folder of them; `out`, where it lies inside, is not searched.
        model: run folder, model file, the name of a timm model, or of an image–text model of OpenCLIP, such as
            open_clip:ViT-B-16; the embedded model when left out.
        weights: local safetensors file for a timm model, without which the weights come from timm's hub; for an
            image–text model the file it needs.
        words: what to look for with an image–text model, such as "a red bicycle, a road"; synonyms as "cat|kitten".
        background_words: what photos are full of besides: the words share a softmax with these; a list of scenery when
            left out; none: scores are similarities.
        classes: names, or indices where no class is called so; on the command line a comma inside a name is written
            \\,. When left out, the classes the model finds.
        out: folder for the pictures (NAME.CLASS.png), the raw maps (NAME.npz) and protocol.jsonl.
        method: a method that `getam methods` lists.
        coupling: of getam, acr, ad-cam and last-stage: grad, grad2, attn_grad or attn_grad2.
        start: of getam, acr, ad-cam and legrad: first block that counts; each has a default of its own.
        rows: of getam, acr and ad-cam: cls, patches or pool; derived from the model when left out.
        layers: of the CAMs: modules to read; the last one, or one per resolution, when left out.
        weighting: of multi-layer: class, pooled, elementwise or positive.
        aggregate: of multi-layer: none, max, uncertainty or mean.
        size: long side in pixels the photo is resized to; the model's own when left out.
        refine: spread the pictures along image edges with PAMR, at a long side of at most 500; the .npz keeps the raw
            patch maps.
        device: auto, cpu, cuda, cuda:1 or mps; auto is a GPU if there is one.
        on_bad_image: fail: stop at a photo that cannot be read; skip: leave it out, and say so at the end.
        overwrite: replace files that exist.

    Returns:
        `out`.

    Raises:
        InputError: no such model, class, method, photo or device, an unreadable photo, or files in the way.
        SkippedError: photos were skipped; all others are done.
        WeightsError: no weights: neither a file nor a reachable hub.
    """
    check_on_bad_image(on_bad_image)
    jobs = photo_jobs(photos, out, ".npz")
    if size is not None and size < 1:
        raise InputError(f"--size {size} must be a positive number of pixels")
    subject = _Subject(model, weights, size, choose_device(device), words, background_words)
    given = {"coupling": coupling, "start": start, "rows": rows, "layers": layers, "weighting": weighting,
             "aggregate": aggregate}  # fmt: skip
    options = {key: value for key, value in given.items() if value is not None}
    check_options(find_method(method), options)
    chosen = subject.net.classes if classes is None and words else classes
    wanted = None if chosen is None else list(dict.fromkeys(subject.index(name) for name in chosen))
    # Without --classes the pictures' names are known only after the forward; the .npz beside them guards them.
    pictures = [f".{subject.file_name(index)}.png" for index in wanted or []]
    jobs = [
        replace(job, results=(*job.results, *(job.name + picture for picture in pictures))) for job in jobs
    ]
    call = {
        "verb": "explain", "weights_sha256": subject.weights_sha256,
        "options": {"photos": photos, "model": model, "weights": weights, "classes": classes, "method": method,
                    "size": subject.long_side, "refine": refine, **options,
                    **({"words": words, "background_words": background_words} if words else {})},
    }  # fmt: skip
    folder = OutputFolder(out, jobs, call, overwrite=overwrite)

    def make(job: Job, photo: Tensor) -> Encode:
        image = subject.prepare(photo)
        found = wanted if wanted is not None else subject.present(image)
        maps = explain(subject.net, image, [found], method=method, **options)
        shown = _shown(photo, maps, refine)
        return lambda: _encode(job, photo, maps, shown, found, subject)

    skipped = photo_by_photo(
        folder, lambda job: as_tensor(read_photo(job.sources[0])), make, what="explaining",
        on_bad_image=on_bad_image, ahead=WHOLE_PHOTOS,
    )  # fmt: skip
    folder.finish(skipped)
    return folder.path


class _Subject:
    """The model being explained: how its photos are prepared and what its classes are called."""

    def __init__(
        self,
        model: str | None,
        weights: Path | None,
        size: int | None,
        device: torch.device,
        words: tuple[str, ...] | None = None,
        background_words: tuple[str, ...] | None = None,
    ) -> None:
        self.net: Any
        self.weights_sha256: str | None
        if reads_words(model, words):
            self.net = words_model(str(model), weights, words or (), background_words, device)
            self.weights_sha256 = file_hash(str(weights))
            self.names = dict(enumerate(self.net.classes))
            self.short = self.names
            self.long_side = size or self.net.side
        elif model is None or Path(model).exists() or model.endswith(".safetensors"):
            if weights is not None:
                raise InputError(
                    "--weights belongs to a timm model name; a run folder or model file has its own"
                )
            self.net = load_model(model, device=device)
            self.weights_sha256 = weights_hash(embedded_model() if model is None else Path(model))
            self.names = dict(enumerate(self.net.classes))
            self.short = self.names
            self.long_side = size or 256
        else:
            self.net = timm_classifier(model, weights, any_size=size is not None).to(device)
            self.weights_sha256 = None if weights is None else weights_hash(weights)
            self.names = _class_names(self.net)
            self.short = {index: name.split(",")[0] for index, name in self.names.items()}
            self.data = resolve_model_data_config(self.net)
            self.long_side = size or max(self.data["input_size"][1:])
        self.device = device
        safe = {index: name.replace("/", "-").replace("\\", "-") for index, name in self.short.items()}
        self._shared = Counter(name.casefold() for name in safe.values())
        self._safe = safe

    def file_name(self, index: int) -> str:
        """A class name fit for a file, of its synonyms the first; with the index where two classes would share it."""
        name = self._safe[index]
        return f"{name} {index}" if self._shared[name.casefold()] > 1 else name

    def index(self, name: str) -> int:
        """Class index for a name or, where no class is called so, for a number given as text.

        A name is looked for as it is, then in any case, then among the synonyms between commas that ImageNet has.
        """
        low = name.casefold()
        for fits in (
            lambda known: known == name,
            lambda known: known.casefold() == low,
            lambda known: low in (part.strip() for part in known.casefold().split(",")),
        ):
            if found := [index for index, known in self.names.items() if fits(known)]:
                return found[0]
        if name.isdecimal() and int(name) in self.names:
            return int(name)
        shown = suggest(name, list(self.names.values())) if len(self.names) <= 100 else "give its index"
        raise InputError(f"the model has no class {name!r}; {shown}")

    def present(self, image: Tensor) -> list[int]:
        """Classes with a positive score (ours), or the best one (timm classifiers); the best one at least."""
        with torch.no_grad():
            scores = class_scores(self.net, image)[0]
        positive = (scores > 0).nonzero().flatten().tolist() if isinstance(self.net, Network) else []
        return positive or [int(scores.argmax())]

    def prepare(self, photo: Tensor) -> Tensor:
        """(3,H,W) uint8 → (1,3,h,w) as the model expects it, on its device."""
        height, width = photo.shape[-2:]
        image = shrunk_photo(photo, max(WORK_SIDE, self.long_side)).to(self.device).float()[None]
        if isinstance(self.net, Network):
            size = fit_patches(height, width, self.long_side, self.net.patch)
            return F.interpolate(image, size=size, mode="bilinear", antialias=True).clamp(0, 255)
        if getattr(self.net, "dynamic_img_size", False):
            patch = self.net.patch_embed.feat_ratio(as_scalar=True)
            size = fit_patches(height, width, self.long_side, patch)
        else:
            size = tuple(self.data["input_size"][1:])
        image = F.interpolate(image, size=size, mode="bilinear", antialias=True).clamp(0, 255) / 255
        mean, std = (torch.tensor(self.data[k], device=self.device).view(3, 1, 1) for k in ("mean", "std"))
        return (image - mean) / std


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
            f"{name} is neither a file, a run folder nor a timm model: see timm.list_models('*vit*')"
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


def _class_names(net: Any) -> dict[int, str]:
    if int(net.num_classes) == IMAGENET_CLASSES:
        info = ImageNetInfo()
        return {i: info.index_to_description(i) for i in range(IMAGENET_CLASSES)}
    return {i: str(i) for i in range(int(net.num_classes))}


def _shown(photo: Tensor, maps: Maps, refine: bool) -> Tensor:
    """The heat that is drawn over a photo (3,H,W) uint8: (K,h,w) in [0,1], at most `LONG_SIDE` large."""
    small = shrunk_photo(photo.to(maps.values.device, torch.uint8), LONG_SIDE).float()[None]
    return refine_maps(small, maps.values, iterations=10 if refine else 0)[0].cpu()


def _encode(
    job: Job, photo: Tensor, maps: Maps, shown: Tensor, found: list[int], subject: _Subject
) -> dict[str, bytes]:
    """The files of one photo."""
    files: dict[str, bytes] = {}
    pixels = photo.permute(1, 2, 0).numpy()
    for index, heat in zip(found, shown):
        buffer = BytesIO()
        Image.fromarray(heat_overlay(pixels, heat.numpy())).save(buffer, "PNG")
        files[f"{job.name}.{subject.file_name(index)}.png"] = buffer.getvalue()
    buffer = BytesIO()
    np.savez_compressed(
        buffer,
        values=maps.values[0].cpu().numpy(),
        scores=maps.scores[0].cpu().numpy(),
        classes=np.array([subject.names[c] for c in found]),
        method=maps.method,
        rows=maps.rows,
    )
    files[job.results[0]] = buffer.getvalue()
    return files
