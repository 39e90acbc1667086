"""Every reader of files that others wrote: good files to begin with, and what reads them.

A reader may return, or refuse with an error of `getam.errors`. Anything else is a defect.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import seeds
import torch
from PIL import Image
from safetensors.torch import save

from getam.data.box_table import read_boxes
from getam.data.class_map import read_class_map
from getam.data.collection import load_collection
from getam.data.confidences import read_confidences, with_confidences
from getam.data.fingerprint import file_hash
from getam.data.formats.registry import FORMATS as TAG_FORMATS
from getam.data.formats.registry import read_tags
from getam.data.mask_formats import registry as mask_formats
from getam.data.mask_formats.base import Reading
from getam.data.masks import encode_mask, read_classes, read_mask
from getam.data.photos import read_grey, read_photo, read_photo_near
from getam.engine.model import load_model
from getam.engine.model_file import save_model
from getam.engine.runfolder import RunFolder
from getam.engine.state import read_state, write_state
from getam.errors import GetamError, InputError
from getam.nets.weights import read_weights
from getam.outputs.unfinished import Unfinished
from getam.recipes.classifier import ClassifierConfig

SIZE = seeds.SIZE


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Attributes:
        name: of the file that is damaged, as its reader wants it.
        seeds: good contents.
        read: what reads it, given its path.
        beside: other files its reader looks at, by name.
    """

    name: str
    seeds: tuple[bytes, ...]
    read: Callable[[Path], Any]
    beside: Mapping[str, bytes]

    def __call__(self, folder: Path, content: bytes) -> str:
        """Read it in this folder; what was refused, in words, or nothing.

        Raises:
            AssertionError: a refusal that is no sentence.
            Exception: whatever is no refusal.
        """
        for name, its in {**self.beside, self.name: content}.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(its)
        try:
            self.read(folder / self.name)
        except GetamError as error:
            said = str(error).strip()
        else:
            return ""
        assert said, "an error without words"
        return said


def _image(format: str, mode: str = "RGB", **options: Any) -> bytes:
    draw = np.random.default_rng(0)
    shape = {"RGB": (*SIZE, 3), "RGBA": (*SIZE, 4), "CMYK": (*SIZE, 4), "L": SIZE, "P": SIZE}[mode]
    pixels = draw.integers(0, 4 if mode == "P" else 256, shape).astype(np.uint8)
    image = Image.fromarray(pixels, None if mode == "P" else mode) if mode != "P" else Image.fromarray(pixels)
    if mode == "P":
        image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


def _deep_png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(SIZE[0] * SIZE[1], dtype=np.uint16).reshape(SIZE)).save(file, "PNG")
    return file.getvalue()


def _mask() -> bytes:
    label = np.random.default_rng(1).integers(0, 3, SIZE).astype(np.uint8)
    return with_confidences(encode_mask(label), {"cat": 0.5, "dog": 0.75})


def _photos(path: Path) -> None:
    for read in (read_photo, read_grey, partial(read_photo_near, long_side=8)):
        try:
            read(path)
        except InputError:
            continue
    read_photo(path)


def _masks(path: Path) -> None:
    read_mask(path)
    read_confidences(path)


def _network(folder: Path) -> bytes:
    config = ClassifierConfig(backbone="test_vit", size=32, weights="")
    save_model(folder / "model.safetensors", config.build(("cat", "dog")), config.model_dump(mode="json"))
    return (folder / "model.safetensors").read_bytes()


def _state(folder: Path) -> bytes:
    write_state(folder, {"model": {"w": torch.ones(3)}, "step": 2, "optimizer": {}, "random": {}})
    return (folder / "state.pt").read_bytes()


def _masks_of(name: str, path: Path) -> None:
    reading = Reading(size=lambda _: SIZE)
    for mask in mask_formats.find_format(name).read(path, reading).masks:
        list(mask.regions())


def _unfinished(path: Path) -> None:
    Unfinished(path.parent, {"verb": "predict"}).has("a.png", [path.parent / "a.jpg"], "")


def _tar() -> bytes:
    """Three photos with their tags, one in a folder and one with a name that needs a second header."""
    file = io.BytesIO()
    photo = _image("JPEG")
    with tarfile.open(fileobj=file, mode="w") as tar:
        for key, kind, said in (
            ("a", "json", b'{"tags": ["cat"]}'),
            ("b/c", "cls", b"dog"),
            ("d" * 120, "txt", b"cat;dog"),
        ):
            for name, content in ((f"{key}.jpg", photo), (f"{key}.{kind}", said)):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def _tarred(path: Path) -> None:
    for sample in load_collection(path).samples:
        read_photo(sample.photo)
        file_hash(sample.photo)


def targets(scratch: Path) -> dict[str, Target]:
    """By name; `scratch` is a folder for making seeds."""
    photo = _image("PNG")
    photos = (
        photo, _image("PNG", "RGBA"), _image("PNG", "P", transparency=0), _deep_png(),
        _image("JPEG", exif=_exif()), _image("JPEG", "CMYK"), _image("JPEG", "L", progressive=True),
        _image("WEBP"), _image("WEBP", lossless=True), _image("GIF", "P"), _image("TIFF"), _image("BMP"),
    )  # fmt: skip
    found = {
        "photo": Target("a.png", photos, _photos, {}),
        "tar": Target("a.tar", (_tar(),), _tarred, {}),
        "mask": Target("a.png", (_mask(), encode_mask(np.full(SIZE, 300, np.uint16))), _masks, {}),
        "classes": Target("classes.txt", (b"background\ncat\ndog\n",), lambda path: read_classes(path.parent), {}),
        "class-map": Target("map.csv", (b"from,to\ncat,pet\ndog,pet\nsky,\n",), read_class_map, {}),
        "class-map-yaml": Target("map.yaml", (b"cat: pet\ndog: pet\nsky: null\n",), read_class_map, {}),
        "boxes": Target(
            "boxes.csv", (b"image,x0,y0,x1,y1,class\na.png,1,2,5,9,cat\na.png,0,0,16,12,cat\n",),
            lambda path: read_boxes(path, path.parent, ("cat",)), {"a.png": photo},
        ),
        "configuration": Target(
            "config.yaml", (b"recipe: getam\nsize: 32\ndata:\n  photos: 3\n",),
            lambda path: (RunFolder(path.parent).recorded(), RunFolder(path.parent)._config()), {},
        ),
        "model": Target("model.safetensors", (_network(scratch),), load_model, {}),
        "weights": Target("w.safetensors", (save({"a": torch.ones(2)}, metadata={"of": "nothing"}),), read_weights, {}),
        "state": Target("state.pt", (_state(scratch),), lambda path: read_state(path.parent), {}),
        "unfinished": Target("unfinished.jsonl", (seeds.UNFINISHED,), _unfinished, {"a.jpg": photo}),
    }  # fmt: skip
    for name, (file, contents) in seeds.TAGS.items():
        of_folder = "." in TAG_FORMATS[name].files or name.startswith("voc")

        def read(path: Path, name: str = name, of_folder: bool = of_folder) -> None:
            read_tags(path.parent if of_folder else path, format=name)

        found[f"tags-{name}"] = Target(file, contents, read, {})
    of_files = ("csv", "json", "coco", "label-studio", "cvat", "fiftyone")
    everything = tuple(seed for name in of_files for seed in seeds.TAGS[name][1])
    found["tags-recognised"] = Target("tags", everything, read_tags, {})
    for name, (file, seed) in seeds.MASKS.items():
        above = len(Path(file).parts) if name in ("yolo", "labelme") else 0
        beside = {"data.yaml": b"names: [cat, dog]\n"} if name == "yolo" else {}

        def read_masks(path: Path, name: str = name, above: int = above) -> None:
            _masks_of(name, path.parents[above - 1] if above else path)

        found[f"masks-{name}"] = Target(file, (seed,), read_masks, beside)
    return found
