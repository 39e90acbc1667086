"""The hash of a model is the hash of its tensors, and of nothing else."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from getam.engine.weights_hash import weights_hash
from getam.errors import WeightsError

TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "b": torch.tensor(3, dtype=torch.int64),
    "c": torch.zeros(0, 2),
}


def hashed(folder: Path, tensors: dict[str, torch.Tensor], **about: str) -> str:
    save_file(tensors, folder / "model.safetensors", metadata=about)
    return weights_hash(folder / "model.safetensors")


def test_equal_tensors_have_equal_hashes(tmp_path: Path) -> None:
    first = hashed(tmp_path, TENSORS, x="1", y="2")
    assert len(first) == 64
    assert hashed(tmp_path, dict(reversed(TENSORS.items())), y="2") == first
    assert weights_hash(tmp_path) == first  # a run folder


def test_files_of_another_order_have_equal_hashes(tmp_path: Path) -> None:
    """The same two tensors, written by hand with header and bytes the other way round."""
    whole = hashed(tmp_path, {"a": torch.tensor([1.0]), "b": torch.tensor([2.0])})
    header = json.dumps({
        "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "__metadata__": {"z": "1"},
        "a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
    }).encode()  # fmt: skip
    content = struct.pack("<Q", len(header)) + header + struct.pack("<ff", 2.0, 1.0)
    (tmp_path / "other.safetensors").write_bytes(content)
    assert weights_hash(tmp_path / "other.safetensors") == whole


@pytest.mark.parametrize(
    "change",
    [{"a": torch.arange(6.0).reshape(3, 2)}, {"a": TENSORS["a"] + 1}, {"b": torch.tensor(3, dtype=torch.int32)},
     {"c": torch.zeros(0, 3)}, {"d": torch.zeros(1)}, {"a": TENSORS["a"].to(torch.bfloat16)}],
)  # fmt: skip
def test_other_tensors_have_other_hashes(tmp_path: Path, change: dict[str, torch.Tensor]) -> None:
    assert hashed(tmp_path, {**TENSORS, **change}) != hashed(tmp_path, TENSORS)


def test_names_count(tmp_path: Path) -> None:
    assert hashed(tmp_path, {"a": torch.zeros(1)}) != hashed(tmp_path, {"b": torch.zeros(1)})


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=r"a\.safetensors is not a readable safetensors file"):
        weights_hash(tmp_path / "a.safetensors")
