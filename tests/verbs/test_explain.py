"""`getam explain`: classes by name and number, one picture a class, and every option by what it changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

import getam
import tiny
from getam import cli
from getam.data.photos import as_tensor, read_photo
from getam.engine.model_file import save_model
from getam.engine.weights_hash import weights_hash
from getam.errors import InputError
from getam.nets import preprocess
from getam.opened.subject import Subject
from getam.photo_size import fit_patches
from getam.recipes.bas import BASConfig
from getam.refine.scaled import refine_maps
from getam.report.overlay import heat_overlay
from getam.verbs.explain import explain_photos


@pytest.fixture
def photo(scenes: Path) -> Path:
    return scenes / "photos" / "scene2.png"


def model_of(classes: tuple[str, ...], trained: Path, folder: Path) -> Path:
    """The trained network (of two classes) with its classes called otherwise."""
    net = getam.load_model(trained)
    net.classes = classes
    config = yaml.safe_load((trained / "config.yaml").read_text())
    save_model(folder / "model.safetensors", net, config)
    return folder / "model.safetensors"


def drawn(out: Path) -> set[str]:
    return {file.name for file in out.glob("*.png")}


def classes_of(out: Path, name: str = "scene2") -> list[str]:
    found: list[str] = np.load(out / f"{name}.npz")["classes"].tolist()
    return found


# Names


def test_a_name_wins_over_a_number(photo: Path, trained: Path, tmp_path: Path) -> None:
    model = model_of(("1", "0"), trained, tmp_path)
    explain_photos(photo, model=str(model), classes=("1",), out=tmp_path / "a", size=32)
    assert classes_of(tmp_path / "a") == ["1"]
    own = explain_photos(photo, model=str(trained), classes=("blue",), out=tmp_path / "b", size=32)
    np.testing.assert_array_equal(
        np.load(tmp_path / "a" / "scene2.npz")["values"], np.load(own / "scene2.npz")["values"]
    )


def test_a_number_is_an_index_where_no_class_is_called_so(photo: Path, trained: Path, tmp_path: Path) -> None:
    explain_photos(photo, model=str(trained), classes=("1",), out=tmp_path / "a", size=32)
    assert classes_of(tmp_path / "a") == ["red"]
    for name in ("2", "-1", "²", "1.0", ""):
        with pytest.raises(InputError, match=f"the model has no class '{name}'; .*[Kk]nown: blue, red"):
            explain_photos(photo, model=str(trained), classes=(name,), out=tmp_path / "b")


def test_the_whole_name_comes_before_other_cases_and_parts(
    photo: Path, trained: Path, tmp_path: Path
) -> None:
    for classes, wanted in (
        (("red, blue", "red"), "red"), (("Red", "red"), "red"), (("red", "RED"), "RED"), (("red", "dark, Red"), "RED"),
    ):  # fmt: skip
        model = model_of(classes, trained, tmp_path)
        out = explain_photos(
            photo, model=str(model), classes=(wanted,), out=tmp_path / "o", size=32, overwrite=True
        )
        assert classes_of(out) == [wanted if wanted in classes else "red"]


def test_a_class_with_a_comma_on_the_command_line(photo: Path, trained: Path, tmp_path: Path) -> None:
    model = model_of(("red, blue", "dog"), trained, tmp_path)
    line = ["explain", str(photo), "--model", str(model), "--size", "32", "--out", str(tmp_path / "o")]
    assert cli.main([*line, "--classes", r"red\, blue,dog"]) == 0
    assert classes_of(tmp_path / "o") == ["red, blue", "dog"]
    assert drawn(tmp_path / "o") == {"scene2.red, blue.png", "scene2.dog.png"}


@pytest.mark.parametrize("classes", [("a/b", "a-b"), ("a\\b", "a/b"), ("Cat", "cat")])
def test_classes_that_would_share_a_file_have_their_own(
    classes: tuple[str, str], photo: Path, trained: Path, tmp_path: Path
) -> None:
    model = model_of(classes, trained, tmp_path)
    out = explain_photos(photo, model=str(model), classes=classes, out=tmp_path / "o", size=32)
    names = drawn(out)
    assert len({name.casefold() for name in names}) == 2
    assert all(name.endswith((" 0.png", " 1.png")) for name in names)
    assert classes_of(out) == list(classes)


# What a call reads and writes


def test_pictures_and_maps_are_those_of_the_library(photo: Path, trained: Path, tmp_path: Path) -> None:
    out = explain_photos(photo, model=str(trained), classes=("red", "blue"), out=tmp_path / "o", size=48)
    net = getam.load_model(trained)
    pixels = as_tensor(read_photo(photo))
    image = torch.nn.functional.interpolate(
        pixels.float()[None], size=fit_patches(40, 48, 48, net.patch), mode="bilinear", antialias=True
    ).clamp(0, 255)
    maps = getam.explain(net, image, [[1, 0]])
    stored = np.load(out / "scene2.npz")
    np.testing.assert_allclose(stored["values"], maps.values[0].numpy(), rtol=1e-5)
    np.testing.assert_allclose(stored["scores"], maps.scores[0].detach().numpy(), rtol=1e-5)
    assert (str(stored["method"]), str(stored["rows"])) == (maps.method, maps.rows)
    for name, heat in zip(("red", "blue"), refine_maps(pixels.float()[None], maps.values)[0]):
        wanted = heat_overlay(pixels.permute(1, 2, 0).numpy(), heat.numpy())
        with Image.open(out / f"scene2.{name}.png") as image_file:
            np.testing.assert_array_equal(np.asarray(image_file), wanted)


def test_unrefined_pictures_are_the_enlarged_maps(photo: Path, trained: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": str(trained), "classes": ("red",), "size": 32}
    raw = explain_photos(photo, out=tmp_path / "raw", refine=False, **options)
    fine = explain_photos(photo, out=tmp_path / "fine", **options)
    pixels = as_tensor(read_photo(photo))
    values = torch.from_numpy(np.load(raw / "scene2.npz")["values"])[None]
    heat = refine_maps(pixels.float()[None], values, iterations=0)[0, 0]
    with Image.open(raw / "scene2.red.png") as picture:
        np.testing.assert_array_equal(
            np.asarray(picture), heat_overlay(pixels.permute(1, 2, 0).numpy(), heat.numpy())
        )
    assert (raw / "scene2.red.png").read_bytes() != (fine / "scene2.red.png").read_bytes()
    np.testing.assert_array_equal(values[0], np.load(fine / "scene2.npz")["values"])


@pytest.mark.parametrize(
    ("method", "option", "value"),
    [
        ("getam", "coupling", "grad"), ("getam", "start", 1), ("getam", "rows", "patches"),
        ("multi-layer", "weighting", "positive"), ("multi-layer", "aggregate", "uncertainty"),
        ("layercam", "layers", ("encoder.stem.layers.1",)),
    ],
)  # fmt: skip
def test_every_option_of_the_methods_arrives(
    method: str, option: str, value: Any, photo: Path, trained: Path, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"model": str(trained), "classes": ("red",), "size": 32, "method": method}
    plain = explain_photos(photo, out=tmp_path / "plain", **given)
    other = explain_photos(photo, out=tmp_path / "other", **given, **{option: value})
    net = getam.load_model(trained)
    image = torch.nn.functional.interpolate(
        as_tensor(read_photo(photo)).float()[None], size=fit_patches(40, 48, 32, net.patch), mode="bilinear",
        antialias=True,
    ).clamp(0, 255)  # fmt: skip
    wanted = getam.explain(net, image, [[1]], method=method, **{option: value}).values[0].numpy()
    found = np.load(other / "scene2.npz")["values"]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-12)
    before = np.load(plain / "scene2.npz")["values"]
    assert before.shape != found.shape or not np.allclose(before, found, rtol=1e-2, atol=0)


def test_size_is_the_long_side(photo: Path, trained: Path, tmp_path: Path) -> None:
    for size, wanted in ((32, (3, 4)), (64, (7, 8)), (None, (27, 32))):
        out = explain_photos(photo, model=str(trained), classes=("red",), out=tmp_path / str(size), size=size)
        assert np.load(out / "scene2.npz")["values"].shape[1:] == wanted


def test_without_classes_those_with_a_positive_score_or_the_best(
    photo: Path, trained: Path, tmp_path: Path
) -> None:
    net = getam.load_model(trained)
    head: Any = net.classifier
    for bias, wanted in (
        ((-50.0, 50.0), ["red"]),
        ((50.0, 40.0), ["blue", "red"]),
        ((-50.0, -40.0), ["red"]),
    ):
        with torch.no_grad():
            head.weight.zero_()
            head.bias.copy_(torch.tensor(bias))
            config = yaml.safe_load((trained / "config.yaml").read_text())
        save_model(tmp_path / "m.safetensors", net, config)
        out = explain_photos(
            photo, model=str(tmp_path / "m.safetensors"), out=tmp_path / "o", size=32, overwrite=True
        )
        assert classes_of(out) == wanted


def test_without_classes_a_network_that_compares_classes_gives_its_best(photo: Path, tmp_path: Path) -> None:
    """Recipe bas: all logits may be positive, or none; a constant on top of them means nothing."""
    net = BASConfig(backbone="test_resnet", weights="", size=32).build(("blue", "green", "red")).eval()
    image = Subject(net, 32).prepare(as_tensor(read_photo(photo)))
    with torch.no_grad():
        features = net.high.get_submodule("stages")(net.low(net.normalised(image))).mean((2, 3))[0]
        for weights in ((1.0, 1.2, 1.1), (-1.2, -1.0, -1.1)):
            net.high.get_submodule("classifier").weight.copy_(
                torch.stack([w * features / features.square().sum() for w in weights])[..., None, None]
            )
            config = {"recipe": "bas", "backbone": "test_resnet", "output_stride": 16}
            save_model(tmp_path / "m.safetensors", net, config)
            out = explain_photos(
                photo, model=str(tmp_path / "m.safetensors"), out=tmp_path / "o", size=32, overwrite=True
            )  # fmt: skip
            assert classes_of(out) == ["green"]
            assert str(np.load(out / "scene2.npz")["method"]) == "bas"  # as its recipe says
            python = getam.explain(str(tmp_path / "m.safetensors"), photo, size=32)
            assert (python.method, python.classes.tolist()) == ("bas", [[1]])
            share = torch.tensor(weights).softmax(0)[1].item()
            found = np.load(out / "scene2.npz")["scores"]
            assert found == pytest.approx([np.log(share / (1 - share))], abs=1e-3)


def test_a_large_photo_is_refined_at_500_and_drawn_at_its_size(trained: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (30, 60, 3)).astype(np.uint8)
    Image.fromarray(pixels).resize((1200, 600)).save(tmp_path / "large.png")
    out = explain_photos(
        tmp_path / "large.png", model=str(trained), classes=("red",), out=tmp_path / "o", size=64
    )
    with Image.open(out / "large.red.png") as picture:
        assert picture.size == (1200, 600)
    small = torch.nn.functional.interpolate(
        as_tensor(read_photo(tmp_path / "large.png"))[None], size=(250, 500), mode="bilinear", antialias=True
    ).float()
    values = torch.from_numpy(np.load(out / "large.npz")["values"])[None]
    heat = refine_maps(small, values)[0, 0].numpy()
    photo = np.asarray(read_photo(tmp_path / "large.png"))
    with Image.open(out / "large.red.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), heat_overlay(photo, heat))


# timm classifiers


def test_a_timm_classifier_sees_photos_as_it_was_trained(photo: Path, tmp_path: Path) -> None:
    name, weights = "resnet10t", tmp_path / "w.safetensors"
    net: Any = tiny.awake(timm.create_model(name, num_classes=1000))
    save_file(net.state_dict(), weights)
    out = explain_photos(photo, model=name, weights=weights, out=tmp_path / "o", method="gradcam")
    data = timm.data.resolve_model_data_config(net)
    pixels = as_tensor(read_photo(photo)).float()[None]
    side = data["input_size"][1]
    image = (
        torch.nn.functional.interpolate(
            pixels, size=(side, side), mode=data["interpolation"], antialias=True
        ).clamp(0, 255)
        / 255
    )
    image = (image - torch.tensor(data["mean"]).view(3, 1, 1)) / torch.tensor(data["std"]).view(3, 1, 1)
    best = int(net(image).argmax())
    wanted = getam.explain(net, image, [[best]], method="gradcam")
    stored = np.load(out / "scene2.npz")
    np.testing.assert_allclose(stored["values"], wanted.values[0].numpy(), rtol=1e-4, atol=1e-6)
    assert len(stored["classes"]) == 1


def test_a_cnn_by_its_name_has_cams_and_says_why_it_has_no_getam(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "w.safetensors"
    save_file(tiny.awake(timm.create_model("resnet10t")).state_dict(), weights)
    line = ["explain", str(photo), "--weights", str(weights), "--classes", "281"]
    for name in ("resnet10t", "timm:resnet10t"):
        out = tmp_path / name.replace(":", "-")
        assert cli.main([*line, "--model", name, "--method", "gradcam", "--out", str(out)]) == 0
    stored = [np.load(tmp_path / name / "scene2.npz")["values"] for name in ("resnet10t", "timm-resnet10t")]
    np.testing.assert_array_equal(*stored)
    capsys.readouterr()
    assert cli.main([*line, "--model", "timm:resnet10t", "--out", str(tmp_path / "o")]) == 2
    said = capsys.readouterr().err
    assert "ResNet has no patch_embed" in said
    assert "--method gradcam" in said
    assert len(said.strip().splitlines()) == 1
    assert cli.main(["explain", str(photo), "--model", "timm:resnet10", "--out", str(tmp_path / "o")]) == 2
    assert "getam models" in capsys.readouterr().err


def test_the_protocol_says_how_the_pictures_were_made(photo: Path, trained: Path, tmp_path: Path) -> None:
    explain_photos(
        photo, model=str(trained), classes=("red",), out=tmp_path / "o", method="getam", coupling="grad", refine=False
    )  # fmt: skip
    record = json.loads((tmp_path / "o" / "protocol.jsonl").read_text())
    assert record["options"] == {
        "photos": str(photo), "model": str(trained), "weights": None, "classes": ["red"], "method": "getam",
        "size": 256, "refine": False, "coupling": "grad",
    }  # fmt: skip
    assert (record["verb"], record["photos"]) == ("explain", 1)
    assert record["weights_sha256"] == weights_hash(trained)


def test_a_scale_beyond_1000_is_seen_in_full(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, int]] = []
    shrink = preprocess.shrunk_photo
    monkeypatch.setattr(
        preprocess, "shrunk_photo", lambda p, side: sizes.append((max(p.shape), side)) or shrink(p, side)
    )
    Image.new("RGB", (1500, 16), (200, 30, 30)).save(tmp_path / "long.png")
    for size, wanted in ((1600, 1600), (64, 1000)):
        explain_photos(
            tmp_path / "long.png", model=str(trained), classes=("red",), out=tmp_path / str(size), size=size
        )
        assert (1500, wanted) in sizes
        sizes.clear()
