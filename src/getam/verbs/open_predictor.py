"""Which network `predict` looks with: torch or ONNX, whole photos or tiles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from getam.exported.onnx_segmenter import SUFFIX
from getam.verbs.predict_tiles import TiledPredictor
from getam.verbs.predictor import Looking, Predictor


def open_predictor(
    model: Path | None,
    *,
    scales: Sequence[int] | None,
    flip: bool,
    crf: bool,
    device: str,
    tile: int | None = None,
) -> Predictor:
    """The embedded model (None), one in a run folder or model file, or one that `getam export` wrote as ONNX.

    Only what the model needs is loaded: an ONNX file runs where torch is not installed, and within a second of being
    asked; torch takes several to load.

    Args:
        model: as of `getam predict`.
        scales: as of `getam predict`; None: as the network was trained to.
        flip, crf, device, tile: as of `getam predict`.

    Raises:
        InputError: no such model or device, one without masks, or tiles that are too small.
        WeightsError: the file is damaged, or not getam's.
    """
    network: Looking
    if model is not None and Path(model).suffix.lower() == SUFFIX:
        from getam.verbs.predict_onnx import OnnxPredictor

        network = OnnxPredictor(Path(model), scales=scales, flip=flip, crf=crf, device=device)
    else:
        from getam.verbs.predict_torch import TorchPredictor

        network = TorchPredictor(model, scales=scales, flip=flip, crf=crf, device=device)
    if tile is None:
        return network
    return TiledPredictor(network, tile, scales=network.scales, crf=crf)
