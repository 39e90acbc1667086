"""`getam export`: a trained segmenter as one file that runs without getam, compared with the original on photos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from getam.data.photo_folder import find_photos
from getam.data.photos import as_tensor, read_photo_near
from getam.engine.model import load_segmenter
from getam.engine.model_file import MODEL
from getam.engine.weights_hash import weights_hash
from getam.errors import InputError
from getam.exported.about import UNKNOWN_LICENCE, About
from getam.exported.check import Run, compare, inputs, require_close, run_onnx, run_torch
from getam.exported.program import program_of
from getam.exported.write import onnx_bytes, torch_bytes
from getam.nets.embedded import embedded_model
from getam.nets.inference import shrunk_photo
from getam.nets.segmenter import Segmenter
from getam.outputs.folder import identities, in_the_way, refuse_input
from getam.outputs.progress import say
from getam.photo_size import WORK_SIDE
from getam.verbs.export_int8 import smaller, with_truth
from getam.verbs.from_python import from_python
from getam.whole_files import replacing, write_atomically

Target = Literal["onnx", "torch"]
SUFFIXES: dict[str, str] = {"onnx": ".onnx", "torch": ".pt2"}
EMBEDDED = "embedded"
EMBEDDED_LICENCE = "Apache-2.0"  # docs/model-card.md
CHECKED_ON = 8  # photos of a folder that a file is compared on, spread over it
SKIMAGE_PHOTOS = ("chelsea", "astronaut", "coffee", "rocket")  # inside its wheel
NOISE_SIZES = ((360, 480), (480, 360), (320, 320), (200, 500))


@from_python
def export(
    model: Path,
    /,
    *,
    to: Target = "onnx",
    out: Path | None = None,
    photos: Path | None = None,
    int8: bool = False,
    truth: Path | None = None,
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
        int8: write 8-bit weights and activations: a quarter of the size. Static and dynamic quantisation are tried, the
            one that loses less is kept, and what it loses is said. ONNX only; `photos` should be like those to come.
        truth: folder of true masks of `photos`, with classes.txt: `int8` says what it loses in mIoU.
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
    if int8 and to != "onnx":
        raise InputError(f"--int8 is for --to onnx, not {to}: leave one of them out")
    if truth is not None and not (int8 and photos is not None):
        raise InputError("--truth says what --int8 loses on --photos: give all three, or leave it out")
    is_embedded = str(model) == EMBEDDED
    source = embedded_model() if is_embedded else model
    target = Path((EMBEDDED if is_embedded else named(source)) + SUFFIXES[to]) if out is None else out
    refuse_input(target, identities([source / MODEL if source.is_dir() else source]))
    if target.is_dir():
        raise InputError(f"{target} is a folder: give a file with --out")
    if target.exists() and not overwrite:
        raise in_the_way(target)
    net = load_segmenter(source)
    seen = check_photos(photos)
    own_licence = EMBEDDED_LICENCE if is_embedded else UNKNOWN_LICENCE
    about = about_of(net, weights_hash(source), own_licence if licence is None else licence)
    pairs = (
        [] if truth is None or photos is None else with_truth(find_photos(photos), photos, truth, seen.files)
    )
    program = program_of(net)
    content = onnx_bytes(program, about) if to == "onnx" else torch_bytes(program, about)
    if int8:
        with TemporaryDirectory() as folder:
            difference = keep_if_close(Path(folder) / target.name, content, net, seen.photos, run_onnx)
        images = [image.numpy() for image in inputs(seen.photos, net.patch) if len(image) == 1]
        content, lost = smaller(content, about, images, f"{len(seen.photos)} {seen.words}", pairs, truth)
        write_atomically(target, content)
    else:
        difference = keep_if_close(target, content, net, seen.photos, run_onnx if to == "onnx" else run_torch)
    say(
        f"{target}: {len(content) / 1e6:.1f} MB; largest difference from the original {difference:.2g}"
        f"{' before quantisation' if int8 else ''}, over {len(seen.photos)} {seen.words}"
    )
    if int8:
        say(lost)
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
        ("background", *net.classes), net.patch, mean, std, metadata.version("getam"), digest, licence,
        side=net.side,
    )  # fmt: skip


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


@dataclass(frozen=True)
class CheckPhotos:
    """Photos (3,H,W) to compare on, their files if they have any, and what they are, in words."""

    photos: list[Tensor]
    words: str
    files: tuple[Path, ...] = ()


def check_photos(photos: Path | None) -> CheckPhotos:
    """Photos to compare on: of a folder some at equal distances; without one scikit-image's, or noise without that."""
    if photos is not None:
        files = find_photos(photos)
        taken = min(len(files), CHECKED_ON)
        chosen = tuple(files[number * len(files) // taken] for number in range(taken))
        read = [shrunk_photo(as_tensor(read_photo_near(file, WORK_SIDE)[0]), WORK_SIDE) for file in chosen]
        return CheckPhotos(read, f"photo{'' if taken == 1 else 's'} of {photos}", chosen)
    try:
        import skimage.data
    except ImportError:
        random = torch.Generator().manual_seed(0)
        noise = [
            F.interpolate(torch.rand(1, 3, 12, 16, generator=random) * 255, size=size, mode="bilinear")[0]
            for size in NOISE_SIZES
        ]
        return CheckPhotos(noise, "pictures of noise (give photos with --photos, or install scikit-image)")
    found = [
        torch.from_numpy(np.array(getattr(skimage.data, name)())).permute(2, 0, 1) for name in SKIMAGE_PHOTOS
    ]
    return CheckPhotos(found, "photos of scikit-image")
