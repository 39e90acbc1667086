"""Classifiers of `transformers` from folders: photos against their own image processor, one sentence where amiss."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import getam
import tiny
from getam import cli
from getam.engine.weights_hash import weights_hash
from getam.errors import InputError, WeightsError
from getam.nets.hugging_face import hugging_face_classifier
from getam.verbs.explain import explain_photos

hugging: Any = pytest.importorskip("hugging", reason="transformers is not installed", exc_type=ImportError)
transformers = hugging.transformers
NAMES = {0: "cat", 1: "dog", 2: "cow", 3: "red, blue", 4: "sheep"}


def save(folder: Path, family: str = "ViT", processor: Any = None, **options: Any) -> str:
    """A tiny classifier of named classes and its processor, as `save_pretrained` writes them."""
    model = hugging.model(family, **{"id2label": NAMES, **options})
    model.save_pretrained(folder)
    if processor is None:
        processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    processor.save_pretrained(folder)
    return str(folder)


PROCESSORS = {
    "ViT": ("ViTImageProcessor", {"size": {"height": 32, "width": 32}}),
    "CLIP": ("CLIPImageProcessor", {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}),
    "DINOv2": (
        "BitImageProcessor",
        {"size": {"shortest_edge": 80}, "crop_size": {"height": 64, "width": 64}},
    ),
    "SigLIP": ("SiglipImageProcessor", {"size": {"height": 32, "width": 32}, "do_normalize": False}),
}


@pytest.mark.parametrize("family", PROCESSORS)
def test_photos_are_prepared_as_its_processor_does_but_whole(family: str, tmp_path: Path) -> None:
    kind, options = PROCESSORS[family]
    processor = getattr(transformers, kind)(**options)
    net: Any = hugging_face_classifier(save(tmp_path / "m", family, processor))
    photo = torch.from_numpy(np.random.default_rng(0).integers(80, 170, (10, 20, 3)).astype(np.uint8))
    photo = (
        photo.permute(2, 0, 1).repeat_interleave(8, 1).repeat_interleave(8, 2)
    )  # 80×160, without black or white: it clips between its two passes
    found = net.preprocessing(photo)
    size = {"height": 32, "width": 64} if family == "DINOv2" else {"height": 32, "width": 32}
    wanted = processor(photo, size=size, do_center_crop=False, return_tensors="pt")["pixel_values"]
    assert found.shape == wanted.shape
    step = 1 / 255 / min(processor.image_std)  # it rounds to 8 bits in between
    torch.testing.assert_close(found, wanted, rtol=0, atol=1.5 * step)
    assert not net.training
    assert net.config._attn_implementation == "sdpa"


def test_the_command_draws_classes_by_their_names(tmp_path: Path) -> None:
    folder = save(tmp_path / "m")
    Image.new("RGB", (48, 40), (200, 40, 40)).save(tmp_path / "a.png")
    line = ["explain", str(tmp_path / "a.png"), "--model", f"hf:{folder}", "--out", str(tmp_path / "o")]
    assert cli.main([*line, "--classes", r"dog,red\, blue"]) == 0
    assert {file.name for file in (tmp_path / "o").glob("*.png")} == {"a.dog.png", "a.red, blue.png"}
    stored = np.load(tmp_path / "o" / "a.npz")
    net: Any = hugging_face_classifier(folder)
    image = net.preprocessing(torch.tensor([200, 40, 40], dtype=torch.uint8)[:, None, None].expand(3, 40, 48))
    maps = getam.explain(net, image, [[1, 3]])
    np.testing.assert_allclose(stored["values"], maps.values[0].numpy(), rtol=1e-4)
    record = json.loads((tmp_path / "o" / "protocol.jsonl").read_text())
    assert record["weights_sha256"] == weights_hash(Path(folder))
    assert record["options"]["model"] == f"hf:{folder}"


def test_from_python_by_name_too(tmp_path: Path) -> None:
    folder = save(tmp_path / "m")
    photo = Image.new("RGB", (48, 40), (200, 40, 40))
    maps = getam.explain(f"hf:{folder}", photo, "cow")
    assert (maps.classes.tolist(), maps.rows) == ([[2]], "cls")
    assert torch.equal(maps.values, getam.explain(hugging_face_classifier(folder), photo, 2).values)


def test_the_best_class_where_none_is_asked_for(tmp_path: Path) -> None:
    folder = save(tmp_path / "m")
    Image.new("RGB", (48, 40), (200, 40, 40)).save(tmp_path / "a.png")
    explain_photos(tmp_path / "a.png", model=f"hf:{folder}", out=tmp_path / "o")
    net: Any = hugging_face_classifier(folder)
    image = net.preprocessing(torch.tensor([200, 40, 40], dtype=torch.uint8)[:, None, None].expand(3, 40, 48))
    best = int(net(image).logits.argmax())
    assert np.load(tmp_path / "o" / "a.npz")["classes"].tolist() == [NAMES[best]]


def test_only_models_that_take_any_size_take_another(tmp_path: Path) -> None:
    Image.new("RGB", (48, 96), (200, 40, 40)).save(tmp_path / "a.png")
    given: dict[str, Any] = {"classes": ("dog",), "size": 96}
    dino = save(tmp_path / "d", "DINOv2")
    explain_photos(tmp_path / "a.png", model=f"hf:{dino}", out=tmp_path / "o", **given)
    assert np.load(tmp_path / "o" / "a.npz")["values"].shape == (1, 12, 6)
    vit = save(tmp_path / "v")
    with pytest.raises(InputError, match="the model takes photos of 32×32 only: leave out size"):
        explain_photos(tmp_path / "a.png", model=f"hf:{vit}", out=tmp_path / "p", **given)


def test_convolutions_have_cams_and_say_why_they_have_no_getam(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", id2label=NAMES
    )
    tiny.awake(transformers.ResNetForImageClassification(config)).save_pretrained(tmp_path / "m")
    transformers.ConvNextImageProcessor(size={"shortest_edge": 64}).save_pretrained(tmp_path / "m")
    Image.new("RGB", (48, 40), (200, 40, 40)).save(tmp_path / "a.png")
    line = ["explain", str(tmp_path / "a.png"), "--model", f"hf:{tmp_path / 'm'}", "--classes", "cat"]
    assert cli.main([*line, "--method", "gradcam", "--out", str(tmp_path / "o")]) == 0
    assert np.load(tmp_path / "o" / "a.npz")["values"].shape[1:] == (8, 8)
    assert cli.main([*line, "--out", str(tmp_path / "p")]) == 2
    assert "GETAM reads global attention" in capsys.readouterr().err


def test_what_is_amiss_is_one_sentence(tmp_path: Path) -> None:
    body = transformers.ViTModel(transformers.ViTConfig(**hugging.BODY))
    body.save_pretrained(tmp_path / "body")
    with pytest.raises(
        WeightsError, match=r"body lack 2 tensors .*e\.g\. classifier\.bias: it is no image classifier"
    ):
        hugging_face_classifier(str(tmp_path / "body"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty is no image classifier of transformers"):
        hugging_face_classifier(str(tmp_path / "empty"))
    hugging.model("ViT").save_pretrained(tmp_path / "bare")
    with pytest.raises(WeightsError, match=r"bare cannot be loaded: .*image processor"):
        hugging_face_classifier(str(tmp_path / "bare"))
    hugging.model("ViT").config.save_pretrained(tmp_path / "config")
    with pytest.raises(WeightsError, match=r"config cannot be loaded: .*model\.safetensors"):
        hugging_face_classifier(str(tmp_path / "config"))
    for absent in ("nowhere", str(tmp_path / "nowhere"), "a/b/c"):
        with pytest.raises(InputError, match=r"(nowhere|a/b/c) is neither a folder nor OWNER/NAME"):
            hugging_face_classifier(absent)
    scaled = save(tmp_path / "scaled", processor=transformers.ViTImageProcessor(rescale_factor=1.0))
    with pytest.raises(InputError, match=r"scales photos by 1\.0, not by 1/255"):
        hugging_face_classifier(scaled)


def test_pickles_are_not_loaded(tmp_path: Path) -> None:
    folder = Path(save(tmp_path / "m"))
    (folder / "model.safetensors").unlink()
    torch.save(hugging.model("ViT").state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        hugging_face_classifier(str(folder))


def test_weights_belong_to_timm_names(tmp_path: Path) -> None:
    Image.new("RGB", (48, 40)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="--weights belongs to a timm model name; hf:a/b has its own"):
        explain_photos(tmp_path / "a.png", model="hf:a/b", weights=tmp_path / "w", out=tmp_path / "o")


def test_without_a_network_a_hub_name_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(
        WeightsError, match=r"weights of nobody/none .*hub.*as hf:FOLDER, or try again with a network"
    ):
        hugging_face_classifier("nobody/none")


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        InputError, match=r"hf:a/b needs the package transformers: pip install 'getam\[huggingface\]'"
    ):
        getam.explain("hf:a/b", Image.new("RGB", (8, 8)), 1)


def test_its_bars_and_reports_are_as_they_were(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    logging = transformers.utils.logging
    folder = save(tmp_path / "m")
    capfd.readouterr()
    for bars in (True, False):
        (logging.enable_progress_bar if bars else logging.disable_progress_bar)()
        before = logging.get_verbosity()
        hugging_face_classifier(folder)
        with pytest.raises(InputError):
            hugging_face_classifier(str(tmp_path))
        assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (before, bars)
    logging.enable_progress_bar()
    assert capfd.readouterr() == ("", "")
