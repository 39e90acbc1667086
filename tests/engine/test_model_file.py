"""A model file is enough to load a network; what is none, or describes none, is one sentence."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import tiny
from getam.engine.model import load_model, load_segmenter
from getam.engine.model_file import read_metadata, save_model
from getam.errors import InputError, WeightsError
from getam.nets.bas import build_bas
from getam.nets.build import build_segmenter
from getam.nets.classifier import build_classifier
from getam.nets.embedded import embedded_model
from getam.nets.segmenter import Segmenter

CONFIG = {"backbone": "small-hybrid", "channels": [8, 8, 8, 8], "width": 8, "enlarge": 1}


@pytest.fixture
def net() -> Segmenter:
    return build_segmenter("small-hybrid", ("cat", "dog"), (8, 8, 8, 8), 8, 1).eval()


@pytest.mark.parametrize("half", [False, True])
def test_a_model_file_is_enough(tmp_path: Path, net: Segmenter, half: bool) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, net, CONFIG, half=half)
    before = torch.get_rng_state()
    loaded = load_model(path)
    assert torch.equal(torch.get_rng_state(), before)
    assert loaded.classes == ("cat", "dog")
    assert not loaded.training
    assert read_metadata(path) == ("segmenter", ("cat", "dog"), CONFIG)
    for name, value in net.state_dict().items():
        found = loaded.state_dict()[name]
        assert found.dtype == value.dtype
        assert torch.equal(
            found, value.half().to(value.dtype) if half and value.is_floating_point() else value
        )
    images = tiny.photos(1, model=net)
    tolerance = 1e-2 if half else 1e-4
    torch.testing.assert_close(loaded(images).logits, net(images).logits, rtol=tolerance, atol=tolerance)
    assert torch.equal(load_model(tmp_path)(images).scores, loaded(images).scores)  # the folder will do


def test_equal_networks_are_equal_files(tmp_path: Path, net: Segmenter) -> None:
    files = [
        tmp_path / f"{number}.safetensors" for number in range(8)
    ]  # the library's metadata come in any order
    for file in files:
        save_model(file, net, {**CONFIG, "größe": 1})
    assert len({file.read_bytes() for file in files}) == 1
    data = files[0].read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    assert json.loads(data[8 : 8 + length])["__metadata__"]["network"] == "segmenter"
    tensors = load_file(files[0])
    assert all(torch.equal(tensors[name], value) for name, value in net.state_dict().items())


def test_what_is_no_model_is_refused(tmp_path: Path, net: Segmenter) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_model(tmp_path / "none")
    with pytest.raises(InputError, match=r"holds no model\.safetensors"):
        load_model(tmp_path)
    (tmp_path / "a.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        load_model(tmp_path / "a.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "b.safetensors")
    with pytest.raises(WeightsError, match="is not a model of getam"):
        load_model(tmp_path / "b.safetensors")
    save_model(tmp_path / "c.safetensors", net, {**CONFIG, "width": 16})
    with pytest.raises(WeightsError, match="does not fit the network its metadata describes"):
        load_model(tmp_path / "c.safetensors")


def rewrite(path: Path, **about: str | None) -> None:
    """The same tensors with other metadata; None takes a key away."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    metadata = {key: value for key, value in {**metadata, **about}.items() if value is not None}
    save_file(load_file(path), path, metadata=metadata)


@pytest.mark.parametrize("key", ["classes", "config"])
@pytest.mark.parametrize("value", [None, "", "{", "3", '"cat"', "[]", "[1, 2]", '["cat", 2]', "null"])
def test_metadata_that_is_no_description_is_one_sentence(
    tmp_path: Path, net: Segmenter, key: str, value: str | None
) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, net, CONFIG)
    rewrite(path, **{key: value})
    with pytest.raises(
        WeightsError, match=r"m\.safetensors does not say which classes and options"
    ) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": None}, "describes no network that can be built"),
        ({"channels": [8, 8]}, "describes no network that can be built"),
        ({"channels": "many"}, "describes no network that can be built"),
        ({"width": -1}, "describes no network that can be built"),
        ({"width": "8"}, "describes no network that can be built"),
        ({"backbone": 3}, "describes no network that can be built"),
        ({"backbone": "vit_of_nobody"}, "timm has no model 'vit_of_nobody'"),
        ({"width": 16}, "does not fit the network its metadata describes: .*size mismatch for"),
    ],
)
def test_metadata_of_no_network_is_one_sentence(
    tmp_path: Path, net: Segmenter, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, net, {**CONFIG, **change})
    with pytest.raises((WeightsError, InputError), match=message) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert "is missing" not in str(caught.value)


def test_what_the_metadata_lacks_is_named(tmp_path: Path, net: Segmenter) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, net, {key: value for key, value in CONFIG.items() if key != "channels"})
    with pytest.raises(
        WeightsError, match=r"can be built \('channels' is missing\): copy the model\.safetensors"
    ):
        load_model(path)


def test_half_of_a_network_keeps_its_counters(tmp_path: Path, net: Segmenter) -> None:
    save_model(tmp_path / "m.safetensors", net, CONFIG, half=True)
    kinds = {value.dtype for value in load_file(tmp_path / "m.safetensors").values()}
    assert kinds == {torch.float16, torch.int64}
    save_model(tmp_path / "m.safetensors", net, CONFIG)
    assert torch.float16 not in {value.dtype for value in load_file(tmp_path / "m.safetensors").values()}


def test_a_file_without_a_kind_holds_a_segmenter(tmp_path: Path, net: Segmenter) -> None:
    save_model(tmp_path / "m.safetensors", net, CONFIG)
    rewrite(tmp_path / "m.safetensors", network=None)
    assert read_metadata(tmp_path / "m.safetensors")[0] == "segmenter"
    assert isinstance(load_model(tmp_path / "m.safetensors"), Segmenter)


def test_every_kind_is_built_as_it_was(tmp_path: Path) -> None:
    sizes = {"backbone": "small-hybrid", "channels": [8, 16, 24, 32], "width": 24, "enlarge": 2}
    first = build_segmenter("small-hybrid", ("a", "b"), (8, 16, 24, 32), 24, 2, weights="")
    second = build_classifier("resnet18", ("a", "b"), weights="", output_stride=8)
    third = build_bas("resnet18", ("a", "b"), weights="", output_stride=32)
    for net, config in (
        (first, sizes),
        (second, {"backbone": "resnet18", "output_stride": 8}),
        (third, {"backbone": "resnet18", "output_stride": 32}),
    ):
        save_model(tmp_path / "m.safetensors", net, config)
        loaded = load_model(tmp_path / "m.safetensors")
        assert type(loaded) is type(net)
        assert loaded.patch == net.patch
        assert not loaded.training
        images = tiny.photos(1, 64, 64, model=net)
        with torch.no_grad():
            torch.testing.assert_close(loaded.class_scores(images), net.eval().class_scores(images))
        kernels = [p for p in loaded.parameters() if p.ndim == 4 and min(p.shape) > 1]
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)
    assert load_segmenter_width(tmp_path, first, sizes) == (24, 2)


def load_segmenter_width(folder: Path, net: Segmenter, sizes: dict[str, object]) -> tuple[int, int]:
    save_model(folder / "m.safetensors", net, sizes)
    loaded = load_segmenter(folder / "m.safetensors")
    return int(loaded.state_dict()["decoder.head.0.weight"].shape[1]), loaded.decoder.enlarge


def test_a_build_without_the_embedded_model_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert embedded_model().name == "animals.safetensors"
    monkeypatch.setattr("getam.nets.embedded.FILE", "none.safetensors")
    with pytest.raises(InputError, match="carries no embedded model: give one with --model"):
        embedded_model()
