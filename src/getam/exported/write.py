"""Files of an exported network: ONNX, and torch's .pt2."""

from __future__ import annotations

import io
import json
import warnings

import torch
from torch.export import ExportedProgram

from getam.errors import InputError
from getam.exported.about import About
from getam.exported.program import quiet

NEED_ONNX = "writing ONNX files needs onnx and onnxscript: install them with `pip install 'getam[onnx]'`"
OPSET = 20  # the first with antialiased resizing as torch has it, for which position embeddings ask
ABOUT = "getam.json"
"""Name of the metadata in a .pt2 file, among its extra files."""


def onnx_bytes(program: ExportedProgram, about: About) -> bytes:
    """An ONNX file: input `images`, outputs `logits` and `scores`, batch and sides open, metadata as `about` says.

    Raises:
        InputError: onnx or onnxscript are not installed, or the network has an operation that ONNX lacks.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise InputError(NEED_ONNX) from None
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about names of sides and future defaults
            found = torch.onnx.export(
                program, input_names=["images"], output_names=["logits", "scores"], opset_version=OPSET, dynamo=True,
                verbose=False,
            )  # fmt: skip
    except Exception as error:  # torch's exporter raises many types of its own
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(
            f"the network cannot be written as ONNX ({reason}): write it with --to torch instead"
        ) from error
    assert found is not None
    model = found.model_proto
    for sides in (*model.graph.input, *model.graph.output):  # names that say what may vary
        for place, side in enumerate(sides.type.tensor_type.shape.dim):
            if side.dim_param:
                side.dim_param = ("photos", "", "height", "width")[place]
    del model.graph.value_info[:]  # sizes in between, under torch's names
    return with_about(model.SerializeToString(), about)


def with_about(content: bytes, about: About) -> bytes:
    """An ONNX file with this metadata and no other."""
    import onnx

    model = onnx.load_from_string(content)
    model.producer_name, model.producer_version = "getam", about.version
    onnx.helper.set_model_props(model, about.as_metadata())
    return model.SerializeToString()


def torch_bytes(program: ExportedProgram, about: About) -> bytes:
    """A .pt2 file of torch.export: a zip of the graph as JSON, weights as they lie in memory, and the metadata."""
    content = io.BytesIO()
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(
            program, content, extra_files={ABOUT: json.dumps(about.as_metadata(), ensure_ascii=False)}
        )
    return content.getvalue()
