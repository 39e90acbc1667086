"""`getam export`: a trained segmenter as one file that runs without getam, compared with the original on photos."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from getam.data.masks import replacing
from getam.data.photos import as_tensor, find_photos, read_photo_near
from getam.engine.model import load_segmenter
from getam.engine.runfolder import MODEL
from getam.errors import InputError
from getam.exported.about import UNKNOWN_LICENCE, About
from getam.exported.check import Run, compare, require_close, run_onnx, run_torch
from getam.exported.program import program_of
from getam.exported.write import onnx_bytes, torch_bytes
from getam.nets.embedded import embedded_model
from getam.nets.inference import shrunk_photo
from getam.nets.segmenter import Segmenter
from getam.photo_size import WORK_SIDE
from getam.verbs.outputs import identities, refuse_input, weights_hash
from getam.verbs.progress import say

Target = Literal["onnx", "torch"]
SUFFIXES: dict[str, str] = {"onnx": ".onnx", "torch": ".pt2"}
EMBEDDED = "embedded"
EMBEDDED_LICENCE = "Apache-2.0"  # docs/model-card.md
CHECKED_ON = 8  # photos of a folder that a file is compared on, spread over it
SYNTHETIC = 4


def export(
    model: Path,
    /,
    *,
    to: Target = "onnx",
    out: Path | None = None,
    photos: Path | None = None,
    licence: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a trained segmenter as one file that runs without getam: ONNX, or a program of torch.export.

    The file takes any number of photos of any size, and says in its metadata what its labels are, how photos are
    resized and which licence its weights have. It is compared with the original on photos before it takes its place.

    Args:
        model: run folder or model file; `embedded` is the model that comes with the package.
        to: onnx: for `getam predict --model`, onnxruntime and other tools; torch: a .pt2 file, for torch.export.load.
        out: the file; when left out the model's name with .onnx or .pt2, in the current folder.
        photos: a photo, or a folder of which up to 8 are taken, to compare file and original on; photos of scikit-image
            when left out, or noise where that is not installed.
        licence: of the weights, for the metadata; when left out "not stated", of the embedded model its own.
        overwrite: replace the file if it exists.

    Returns:
        The file.

    Raises:
        InputError: no such model, one without a decoder, a file in the way, or a package that is missing.
        WeightsError: the file differs from the original by more than 0.001 in a logit; none is left.
    """
    if to not in SUFFIXES:
        raise InputError(f"--to {to}: choose {' or '.join(SUFFIXES)}")
    is_embedded = str(model) == EMBEDDED
    source = embedded_model() if is_embedded else Path(model)
    target = Path((EMBEDDED if is_embedded else named(source)) + SUFFIXES[to]) if out is None else Path(out)
    refuse_input(target, identities([source / MODEL if source.is_dir() else source]))
    if target.is_dir():
        raise InputError(f"{target} is a folder: give a file with --out")
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists: choose another --out, or replace it with --overwrite")
    net = load_segmenter(source)
    seen, where = check_photos(photos)
    own_licence = EMBEDDED_LICENCE if is_embedded else UNKNOWN_LICENCE
    about = about_of(net, weights_hash(source), own_licence if licence is None else licence)
    program = program_of(net)
    content = onnx_bytes(program, about) if to == "onnx" else torch_bytes(program, about)
    difference = keep_if_close(target, content, net, seen, run_onnx if to == "onnx" else run_torch)
    say(
        f"{target}: {len(content) / 1e6:.1f} MB; largest difference from the original {difference:.2g}, over "
        f"{len(seen)} {where}"
    )
    return target


def named(source: Path) -> str:
    """What a model's file is called: its run folder's name, or its own without the suffix.

    >>> named(Path("runs/a/model.safetensors")), named(Path("runs/a")), named(Path("cats.safetensors"))
    ('a', 'a', 'cats')
    """
    if source.name == MODEL and source.parent.name:
        return source.parent.name
    return source.stem if source.suffix == Path(MODEL).suffix else source.absolute().name


def about_of(net: Segmenter, digest: str, licence: str) -> About:
    """The metadata of a network.

    Args:
        net: the network.
        digest: hash of its weights.
        licence: of them.
    """
    mean, std = (tuple(map(float, numbers.flatten().tolist())) for numbers in (net.mean, net.std))
    return About(
        ("background", *net.classes), net.patch, mean, std, metadata.version("getam"), digest, licence
    )


def keep_if_close(
    target: Path, content: bytes, net: Segmenter, photos: list[Tensor], run: Callable[[Path], Run]
) -> float:
    """Write a file, compare what was written with its network, and only then let it take its place.

    Returns the largest difference. Raises `WeightsError` where that is too large; what was there before stays.
    """
    with replacing(target) as file:
        file.write(content)
        file.flush()
        found = compare(net, run(Path(file.name)), photos)
        require_close(found)
    return found.difference


def check_photos(photos: Path | None) -> tuple[list[Tensor], str]:
    """Photos (3,H,W) uint8 to compare on, and what they are, in words.

    Those of a folder are taken at equal distances; without one, scikit-image's, or noise where it is not installed.
    """
    if photos is not None:
        files = find_photos(photos)
        taken = min(len(files), CHECKED_ON)
        chosen = [files[number * len(files) // taken] for number in range(taken)]
        read = [shrunk_photo(as_tensor(read_photo_near(file, WORK_SIDE)[0]), WORK_SIDE) for file in chosen]
        return read, f"photo{'' if taken == 1 else 's'} of {photos}"
    try:
        import skimage.data
    except ImportError:
        random = np.random.default_rng(0)
        coarse = [
            random.integers(0, 256, (3, 12 + number, 16)).astype(np.float32) for number in range(SYNTHETIC)
        ]
        sizes = [(360, 480), (480, 360), (320, 320), (200, 500)]
        noise = [
            torch.nn.functional.interpolate(torch.from_numpy(each)[None], size=size, mode="bicubic")[0].clamp(
                0, 255
            )
            for each, size in zip(coarse, sizes, strict=True)
        ]
        return noise, "pictures of noise (with --photos, or scikit-image installed, over photos)"
    names = ("chelsea", "astronaut", "coffee", "rocket")
    found = [torch.from_numpy(np.array(getattr(skimage.data, name)())).permute(2, 0, 1) for name in names]
    return found, "photos of scikit-image"
