"""ONNX files opened with onnxruntime, on the CPU; torch has no part in it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from getam.errors import InputError, WeightsError


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file that is ready to run.

    Attributes:
        session: an `onnxruntime.InferenceSession`.
        sha256: of the file.
    """

    session: Any
    sha256: str


def open_onnx(path: Path, *, need: str, threads: int | None = None) -> OnnxFile:
    """Read an ONNX file and prepare its graph.

    Args:
        path: of the file.
        need: what to say where onnxruntime is not installed.
        threads: of onnxruntime; default: what OMP_NUM_THREADS says, else as many as the machine has cores.

    Raises:
        InputError: onnxruntime is not installed, or there is no file.
        WeightsError: it is not ONNX, or has an operation this onnxruntime does not know.
    """
    try:
        import onnxruntime
    except ImportError:
        raise InputError(need) from None
    if not path.is_file():
        raise InputError(f"ONNX file {path} does not exist or is no file: check the path")
    content = path.read_bytes()
    options = onnxruntime.SessionOptions()
    asked = os.environ.get("OMP_NUM_THREADS", "")
    options.intra_op_num_threads = threads or (int(asked) if asked.isdecimal() else 0)
    options.log_severity_level = 3  # errors are raised; warnings about the graph help no user
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises many types of its own
        raise WeightsError(f"{path} is not a readable ONNX file ({str(error).splitlines()[0]})") from None
    return OnnxFile(session, hashlib.sha256(content).hexdigest())
