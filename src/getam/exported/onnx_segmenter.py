"""A segmenter out of an ONNX file: photos in, pixel logits and masks out, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from getam.errors import InputError, WeightsError
from getam.exported.about import About
from getam.exported.arrays import Floats, enlarged, resized_photo
from getam.onnx_session import open_onnx
from getam.photo_size import fit_patches

SUFFIX = ".onnx"
NEED_RUNTIME = "a model in an ONNX file needs onnxruntime: install it with `pip install 'getam[onnx]'`"


class OnnxSegmenter:
    """What `getam export --to onnx` has written.

    Args:
        path: of the file.

    Attributes:
        about: what its metadata say.
        sha256: of the file.

    Raises:
        InputError: onnxruntime is not installed, or there is no file.
        WeightsError: the file is no network that getam has exported.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        opened = open_onnx(path, need=NEED_RUNTIME)
        self.sha256, self._session = opened.sha256, opened.session
        self.about = About.from_metadata(self._session.get_modelmeta().custom_metadata_map, str(path))

    def __call__(self, images: Floats) -> tuple[Floats, Floats]:
        """Photos (N,3,H,W) in 0–255, sides multiples of the patch → logits (N,C+1,H,W) and scores (N,C).

        Raises:
            WeightsError: the graph does not take or give what its metadata say.
        """
        try:
            logits, scores = self._session.run(["logits", "scores"], {"images": images})
        except Exception as error:  # onnxruntime raises many types of its own
            raise WeightsError(
                f"{self.path} does not run on photos of {images.shape} ({str(error).splitlines()[0]}): export it again"
            ) from None
        wanted = (len(images), len(self.about.labels), *images.shape[2:])
        if logits.shape != wanted:
            raise WeightsError(
                f"{self.path} gives logits of {logits.shape} where its metadata promise {wanted}: export it again"
            )
        return logits, scores

    def photo_logits(self, photo: Image.Image, long_sides: Sequence[int], *, flip: bool = False) -> Floats:
        """Mean of the logits over scales and flips, at photo size, as `getam.nets.inference.photo_logits`.

        Args:
            photo: RGB.
            long_sides: the photo is resized to each of these long sides (to multiples of the patch), shape kept.
            flip: average with the mirrored photo.

        Returns:
            (C+1,H,W) float32.

        Raises:
            InputError: logits that are not finite.
        """
        width, height = photo.size
        total = np.zeros((len(self.about.labels), height, width), np.float32)
        for long_side in long_sides:
            image = resized_photo(photo, fit_patches(height, width, long_side, self.about.patch))
            for step in (1, -1) if flip else (1,):
                logits = self(np.ascontiguousarray(image[None, :, :, ::step]))[0][0]
                total += enlarged(logits[:, :, ::step], (height, width))
        if not np.isfinite(total).all():
            raise InputError(
                f"the logits of {self.path} are not finite (NaN or infinite): its network has probably diverged; train "
                "it again with a smaller --lr, and export that"
            )
        return total / np.float32(len(long_sides) * (2 if flip else 1))
