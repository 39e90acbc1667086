"""Classifiers of Hugging Face `transformers`, with their image processor: from a local folder, or from the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isclose
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from getam.attention.hugging_face import tower
from getam.errors import InputError, WeightsError
from getam.nets.hub import from_hub
from getam.nets.preprocess import Preprocessing

PREFIX = "hf:"
"""Before the name of such a model, where any model can be named."""
BILINEAR = (
    2  # in Pillow's numbering, which processors use; all else is read as bicubic, the only other of torch
)


def hugging_face_classifier(source: str) -> nn.Module:
    """An image classifier in eval mode; its attribute `preprocessing` is what its image processor says.

    Photos are resized as a whole: a processor that cuts out their middle would leave the map without borders.

    Args:
        source: a folder in the layout of `save_pretrained`, or OWNER/NAME on the hub. Weights are safetensors only.

    Raises:
        InputError: `transformers` is not installed, or it holds no image classifier or no image processor.
        WeightsError: weights are missing, do not fit, or the hub cannot be reached.
    """
    theirs = _transformers(source)
    folder = Path(source)
    if not folder.is_dir() and (source.count("/") != 1 or folder.is_absolute()):
        raise InputError(f"{source} is neither a folder nor OWNER/NAME on the Hugging Face hub")

    def create() -> nn.Module:
        net, report = theirs.AutoModelForImageClassification.from_pretrained(
            source, use_safetensors=True, output_loading_info=True
        )
        if missing := sorted(report["missing_keys"]):
            raise WeightsError(
                f"the weights of {source} lack {len(missing)} tensors of {type(net).__name__}, e.g. {missing[0]}: it "
                "is no image classifier, or another task's"
            )
        processor = theirs.AutoImageProcessor.from_pretrained(source)
        net.preprocessing = _preprocessing(net, processor, source)
        return net.eval()

    with _quiet(theirs):
        try:
            if folder.is_dir():
                return create()
            return from_hub(create, source, "name a folder that `save_pretrained` wrote, as hf:FOLDER")
        except OSError as error:  # of a folder
            raise WeightsError(f"{source} cannot be loaded: {_first_line(error)}") from None
        except (ValueError, RuntimeError) as error:
            if isinstance(error, (InputError, WeightsError)):
                raise
            raise InputError(
                f"{source} is no image classifier of transformers: {_first_line(error)}"
            ) from None


def _transformers(source: str) -> ModuleType:
    try:
        import transformers
    except ImportError as missing:
        raise InputError(
            f"{PREFIX}{source} needs the package transformers: pip install 'getam[huggingface]'"
        ) from missing
    return transformers


@contextmanager
def _quiet(theirs: Any) -> Iterator[None]:
    """Without its bars and reports: what matters is raised."""
    logging = theirs.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        restore: Callable[[], None] = logging.enable_progress_bar if bars else logging.disable_progress_bar
        restore()


def _preprocessing(net: nn.Module, processor: Any, source: str) -> Preprocessing:
    """What the processor says, at the one size of the model where it takes one."""
    if getattr(processor, "do_rescale", True) and not isclose(processor.rescale_factor, 1 / 255):
        raise InputError(
            f"the image processor of {source} scales photos by {processor.rescale_factor}, not by 1/255"
        )
    normal = getattr(processor, "do_normalize", True)
    mean, std = (processor.image_mean, processor.image_std) if normal else ((0.0,) * 3, (1.0,) * 3)
    interpolation = "bilinear" if int(processor.resample) == BILINEAR else "bicubic"
    said = (tuple(map(float, mean)), tuple(map(float, std)), interpolation)
    found = tower(list(net.modules()))
    if found is not None and found.fixed is not None:
        return Preprocessing(found.fixed, None, *said)
    height, width = _size(processor, source)
    if found is not None:
        return Preprocessing(max(height, width), max(found.patch), *said)
    return Preprocessing((height, width), None, *said)


def _size(processor: Any, source: str) -> tuple[int, int]:
    """(height, width) of what a processor gives."""
    size = processor.crop_size if getattr(processor, "do_center_crop", False) else processor.size
    for names in (("height", "width"), ("shortest_edge", "shortest_edge")):
        found = tuple(size.get(name) for name in names)
        if all(found):
            return int(found[0]), int(found[1])
    raise InputError(f"the image processor of {source} does not say to what size it brings photos")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
