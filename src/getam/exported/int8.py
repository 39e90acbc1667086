"""Eight-bit weights and activations for an ONNX file, by onnxruntime."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from getam.errors import InputError
from getam.exported.arrays import Floats
from getam.exported.onnx_segmenter import OnnxSegmenter

KINDS = ("static", "dynamic")
"""Ranges of activations from photos beforehand, or from each photo as it comes."""
NEED_QUANTISATION = "--int8 needs onnx and onnxruntime: install them with `pip install 'getam[onnx]'`"


def quantised(content: bytes, kind: str, images: Sequence[Floats]) -> bytes:
    """An ONNX file with int8 weights, a scale for each output channel, and 8-bit activations.

    Args:
        content: of the file.
        kind: one of `KINDS`.
        images: prepared photos (1,3,H,W), of which "static" takes the ranges of activations.

    Raises:
        InputError: onnx or onnxruntime are not installed.
    """
    try:
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError:
        raise InputError(NEED_QUANTISATION) from None

    class Photos(quantization.CalibrationDataReader):
        """The images in the form that onnxruntime asks for."""

        def __init__(self) -> None:
            self._left: Iterator[Floats] = iter(images)

        def get_next(self) -> dict[str, Floats] | None:
            image = next(self._left, None)
            return None if image is None else {"images": image}

    common = {"per_channel": True, "weight_type": quantization.QuantType.QInt8}
    root = logging.getLogger()
    level = root.level
    with TemporaryDirectory() as folder:
        given, ready, made = (Path(folder) / name for name in ("given.onnx", "ready.onnx", "made.onnx"))
        given.write_bytes(content)
        root.setLevel(logging.ERROR)  # onnxruntime warns of every bias that has one axis
        try:
            quant_pre_process(given, ready, skip_symbolic_shape=True)
            if kind == "static":
                quantization.quantize_static(ready, made, Photos(), **common)
            else:
                quantization.quantize_dynamic(ready, made, **common)
        finally:
            root.setLevel(level)
        return made.read_bytes()


def share_changed(file: Path, other: Path, images: Sequence[Floats]) -> float:
    """Share of pixels of prepared photos that two files give different labels."""
    first, second = OnnxSegmenter(file), OnnxSegmenter(other)
    changed = [np.mean(first(image)[0].argmax(1) != second(image)[0].argmax(1)) for image in images]
    return float(np.mean(changed))
