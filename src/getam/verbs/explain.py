"""`getam explain`: class-specific maps of any timm classifier, or of a network of ours."""

from __future__ import annotations

from collections.abc import Sequence
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

from getam.data.masks import write_atomically
from getam.data.photos import as_tensor, find_photos, read_photo
from getam.data.tags import suggest
from getam.engine.model import load_model
from getam.errors import InputError
from getam.maps.base import Maps, check_photos
from getam.maps.getam import class_scores
from getam.maps.registry import check_options, find_method
from getam.nets.hub import from_hub
from getam.nets.inference import fit_patches
from getam.nets.network import Network
from getam.nets.weights import load_backbone
from getam.refine.scaled import refine_maps
from getam.report.overlay import heat_overlay
from getam.verbs.outputs import OutputFolder
from getam.verbs.predict import photo_names
from getam.verbs.progress import progress

IMAGENET_CLASSES = 1000


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
    overwrite: bool = False,
) -> Path:
    """Draw which pixels of a photo carry each class.

    Args:
        photos: one photo, or a folder of them.
        model: run folder, model file, or the name of a timm model; the embedded model when left out.
        weights: local safetensors file for a timm model; without it the weights come from timm's hub.
        classes: names or indices; when left out, the classes the model finds.
        out: folder for the pictures (NAME.CLASS.png), the raw maps (NAME.npz) and protocol.jsonl.
        method: a method that `getam methods` lists.
        coupling: of getam, acr, ad-cam and last-stage: grad, grad2, attn_grad or attn_grad2.
        start: of getam, acr, ad-cam and legrad: first block that counts; each has a default of its own.
        rows: of getam, acr and ad-cam: cls, patches or pool; derived from the model when left out.
        layers: of the CAMs: modules to read; the last one, or one per resolution, when left out.
        weighting: of multi-layer: class, pooled, elementwise or positive.
        aggregate: of multi-layer: none, max, uncertainty or mean.
        size: long side in pixels the photo is resized to; the model's own when left out.
        refine: spread the pictures along image edges with PAMR; the .npz keeps the raw patch maps.
        overwrite: replace files that exist.

    Returns:
        `out`.

    Raises:
        InputError: no such model, class, method or photo, or files in the way.
        WeightsError: no weights: neither a file nor a reachable hub.
    """
    files = find_photos(photos)
    names = photo_names(files, Path(photos))
    if size is not None and size < 1:
        raise InputError(f"--size {size} must be a positive number of pixels")
    subject = _Subject(model, weights, size)
    given = {"coupling": coupling, "start": start, "rows": rows, "layers": layers, "weighting": weighting,
             "aggregate": aggregate}  # fmt: skip
    options = {key: value for key, value in given.items() if value is not None}
    check_options(find_method(method), options)
    wanted = None if classes is None else list(dict.fromkeys(subject.index(name) for name in classes))
    # Without --classes the pictures' names are known only after the forward; the .npz beside them guards them.
    planned = [f"{n}.npz" for n in names] + [
        f"{n}.{subject.file_name(c)}.png" for n in names for c in wanted or []
    ]
    folder = OutputFolder(out, planned, overwrite=overwrite)
    with progress("explaining", len(files)) as advance:
        for done, (file, name) in enumerate(zip(files, names), start=1):
            photo = as_tensor(read_photo(file))
            image = subject.prepare(photo)
            found = wanted if wanted is not None else subject.present(image)
            maps = explain(subject.net, image, [found], method=method, **options)
            _write(folder.path / name, photo, maps, found, subject, refine)
            advance(done, file.name)
    folder.protocol(
        "explain", {"photos": photos, "model": model, "weights": weights, "classes": classes, "method": method,
                    "size": subject.long_side, "refine": refine, **options},
        photos=len(files),
    )  # fmt: skip
    return folder.path


class _Subject:
    """The model being explained: how its photos are prepared and what its classes are called."""

    def __init__(self, model: str | None, weights: Path | None, size: int | None) -> None:
        self.net: Any
        if model is None or Path(model).exists() or model.endswith(".safetensors"):
            if weights is not None:
                raise InputError(
                    "--weights belongs to a timm model name; a run folder or model file has its own"
                )
            self.net = load_model(model)
            self.names = dict(enumerate(self.net.classes))
            self.long_side = size or 256
        else:
            self.net = timm_classifier(model, weights, any_size=size is not None)
            self.names = _class_names(self.net)
            self.data = resolve_model_data_config(self.net)
            self.long_side = size or max(self.data["input_size"][1:])

    def file_name(self, index: int) -> str:
        """A class name fit for a file: its first synonym, with the index where two classes share it."""
        first = self.names[index].split(",")[0]
        shared = sum(name.split(",")[0] == first for name in self.names.values()) > 1
        return (f"{first} {index}" if shared else first).replace("/", "-").replace("\\", "-")

    def index(self, name: str) -> int:
        """Class index for a name or a number given as text."""
        if name.isdigit() and int(name) in self.names:
            return int(name)
        matches = [
            i
            for i, known in self.names.items()
            if name.lower() in (part.strip() for part in known.lower().split(","))
        ]
        if not matches:
            shown = suggest(name, list(self.names.values())) if len(self.names) <= 100 else "give its index"
            raise InputError(f"the model has no class {name!r}; {shown}")
        return matches[0]

    def present(self, image: Tensor) -> list[int]:
        """Classes with a positive score (ours), or the best one (timm classifiers); the best one at least."""
        with torch.no_grad():
            scores = class_scores(self.net, image)[0]
        positive = (scores > 0).nonzero().flatten().tolist() if isinstance(self.net, Network) else []
        return positive or [int(scores.argmax())]

    def prepare(self, photo: Tensor) -> Tensor:
        """(3,H,W) uint8 → (1,3,h,w) as the model expects it."""
        height, width = photo.shape[-2:]
        image = photo.float()[None]
        if isinstance(self.net, Network):
            size = fit_patches(height, width, self.long_side, self.net.patch)
            return F.interpolate(image, size=size, mode="bilinear", antialias=True).clamp(0, 255)
        if getattr(self.net, "dynamic_img_size", False):
            patch = self.net.patch_embed.feat_ratio(as_scalar=True)
            size = fit_patches(height, width, self.long_side, patch)
        else:
            size = tuple(self.data["input_size"][1:])
        image = F.interpolate(image, size=size, mode="bilinear", antialias=True).clamp(0, 255) / 255
        mean, std = (torch.tensor(self.data[k]).view(3, 1, 1) for k in ("mean", "std"))
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


def _write(base: Path, photo: Tensor, maps: Maps, found: list[int], subject: _Subject, refine: bool) -> None:
    base.parent.mkdir(parents=True, exist_ok=True)
    shown = refine_maps(photo.float()[None], maps.values, iterations=10 if refine else 0)[0]
    pixels = photo.permute(1, 2, 0).numpy()
    for index, heat in zip(found, shown):
        buffer = BytesIO()
        Image.fromarray(heat_overlay(pixels, heat.cpu().numpy())).save(buffer, "PNG")
        write_atomically(base.with_name(f"{base.name}.{subject.file_name(index)}.png"), buffer.getvalue())
    buffer = BytesIO()
    np.savez_compressed(
        buffer,
        values=maps.values[0].cpu().numpy(),
        scores=maps.scores[0].cpu().numpy(),
        classes=np.array([subject.names[c] for c in found]),
        method=maps.method,
        rows=maps.rows,
    )
    write_atomically(base.with_name(f"{base.name}.npz"), buffer.getvalue())
