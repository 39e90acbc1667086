"""`explain --words` and `label --words` with a tiny model of OpenCLIP: from a file of weights to pictures and masks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import getam
import tiny
from getam import cli
from getam.data.fingerprint import file_hash
from getam.data.masks import read_classes, read_mask
from getam.data.photos import as_tensor, read_photo
from getam.errors import InputError, WeightsError
from getam.nets.openclip import MEAN, STD, open_clip_words
from getam.nets.words import BACKGROUND_WORDS, word_classifier
from getam.pipeline import Pipeline
from getam.verbs.explain import explain_photos
from getam.verbs.label import label

open_clip = pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
TINY = "tiny-words"
MODEL = f"open_clip:{TINY}"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights of a model that OpenCLIP is told of: 4 blocks of width 24, 8-pixel patches at 32."""
    folder = tmp_path_factory.mktemp("clip")
    seen = {"layers": 4, "width": 24, "head_width": 8, "patch_size": 8, "image_size": 32}
    read = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 6, "vision_cfg": seen, "text_cfg": read}
    (folder / f"{TINY}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{TINY}.json")
    model = tiny.awake(open_clip.create_model(TINY))
    save_file(model.state_dict(), folder / "tiny.safetensors")
    torch.save(model.state_dict(), folder / "tiny.pt")
    return folder / "tiny.safetensors"


def by_hand(weights: Path, words: list[str], background: tuple[str, ...]) -> Any:
    from safetensors.torch import load_file

    model = open_clip.create_model(TINY).eval()
    model.load_state_dict(load_file(weights))
    mean, std = ([255 * value for value in each] for each in (MEAN, STD))
    tokenise = open_clip.get_tokenizer(TINY)
    return word_classifier(model, tokenise, words, background=background, side=32, mean=mean, std=std).eval()


# Explain


@pytest.mark.parametrize("background", [None, ("sky", "grass"), ("none",)])
def test_maps_of_words_are_those_of_the_classifier(
    background: tuple[str, ...] | None, weights: Path, scenes: Path, tmp_path: Path
) -> None:
    out = explain_photos(
        scenes / "photos" / "scene2.png", model=MODEL, weights=weights, words=("a red square|a box", "a road"),
        background_words=background, out=tmp_path / "maps", size=48,
    )  # fmt: skip
    others = {None: BACKGROUND_WORDS, ("none",): ()}.get(background, background)
    net = by_hand(weights, ["a red square|a box", "a road"], others)
    photo = as_tensor(read_photo(scenes / "photos" / "scene2.png")).float()[None]
    maps = getam.explain(
        net, F.interpolate(photo, size=(40, 48), mode="bilinear", antialias=True).clamp(0, 255), [[0, 1]]
    )
    stored = np.load(out / "scene2.npz")
    assert stored["classes"].tolist() == ["a red square", "a road"]
    np.testing.assert_allclose(stored["scores"], maps.scores[0].numpy(), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        stored["values"], maps.values[0].numpy(), rtol=1e-3, atol=1e-5 * maps.values.max().item()
    )
    assert (out / "scene2.a red square.png").is_file()
    record = json.loads((out / "protocol.jsonl").read_text().splitlines()[-1])
    assert record["weights_sha256"] == file_hash(weights)
    assert record["options"]["words"] == ["a red square|a box", "a road"]


def test_words_on_the_command_line_and_the_model_s_own_size(
    weights: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["explain", str(scenes / "photos" / "scene2.png"), "--model", MODEL, "--weights", str(weights)]
    asked = [
        "--words",
        "a red square, a road",
        "--background-words",
        "sky,grass",
        "--out",
        str(tmp_path / "o"),
    ]
    assert cli.main([*line, *asked]) == 0
    assert np.load(tmp_path / "o" / "scene2.npz")["values"].shape == (
        2,
        3,
        4,
    )  # 32 of the model, in patches of 8
    assert cli.main([*line, *asked, "--classes", "a road", "--overwrite"]) == 0
    assert np.load(tmp_path / "o" / "scene2.npz")["classes"].tolist() == ["a road"]
    capsys.readouterr()
    assert cli.main([*line, "--out", str(tmp_path / "p")]) == 2
    assert "has no classes of its own: say with --words what to look for" in capsys.readouterr().err


def test_words_without_an_image_text_model_are_refused(scenes: Path, tmp_path: Path) -> None:
    for model in (None, "vit_tiny_patch16_224"):
        with pytest.raises(
            InputError, match="--words needs an image–text model: give --model open_clip:NAME"
        ):
            explain_photos(scenes / "photos", model=model, words=("cat",), out=tmp_path / "o")


def test_none_beside_background_words_is_refused(weights: Path, scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--background-words is none and sky at once"):
        explain_photos(
            scenes / "photos", model=MODEL, weights=weights, words=("cat",), out=tmp_path / "o",
            background_words=("sky", "none"),
        )  # fmt: skip


# Label


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "words.csv").write_text(
        "image,words\nscene0.png,a red square|a box\nscene1.png,\nscene2.png,a road;a red square|a box\n"
    )
    return tmp_path / "words.csv"


def test_labels_of_words_are_the_pipeline_s_and_train_like_any_others(
    weights: Path, scenes: Path, table: Path, tmp_path: Path
) -> None:
    out = label(
        data=scenes / "photos", words=table, model=Path(MODEL), weights=weights, out=tmp_path / "labels",
        background_words=("sky", "grass"), scales=(48,), flip=False, refine=("class-aware", "pamr"),
        saliency="none",
    )  # fmt: skip
    assert read_classes(out) == ("a red square", "a road")
    net = by_hand(weights, ["a red square|a box", "a road"], ("sky", "grass"))
    pipeline = Pipeline(refine=("class-aware", "pamr"), scales=(48,), flip=False)
    for name, present in (("scene0", [0]), ("scene1", []), ("scene2", [0, 1])):
        wanted = pipeline.label(net, as_tensor(read_photo(scenes / "photos" / f"{name}.png")), present, None)
        assert (read_mask(out / f"{name}.png") == wanted.numpy()).mean() > 0.99
    record = json.loads((out / "protocol.jsonl").read_text().splitlines()[-1])
    assert record["weights_sha256"] == file_hash(weights)
    assert record["options"]["words"] == str(table)
    assert getam.train(
        data=scenes / "photos",
        tags=table,
        out=tmp_path / "run",
        backbone="small-hybrid",
        size=32,
        batch_size=2,
        steps=1,
    )
    assert getam.load_model(tmp_path / "run").classes == ("a red square", "a road")


def test_label_on_the_command_line_takes_a_table_of_words(
    weights: Path, scenes: Path, table: Path, tmp_path: Path
) -> None:
    odd = table.rename(tmp_path / "my, words.csv")
    line = [
        "label",
        "--data",
        str(scenes / "photos"),
        "--model",
        MODEL,
        "--weights",
        str(weights),
        "--words",
        str(odd),
    ]
    rest = [
        "--background-words",
        "none",
        "--scales",
        "32",
        "--no-flip",
        "--refine",
        "none",
        "--out",
        str(tmp_path / "l"),
    ]
    assert cli.main([*line, "--classes", "a road", *rest]) == 0
    assert read_classes(tmp_path / "l") == ("a road",)
    assert set(np.unique(read_mask(tmp_path / "l" / "scene2.png"))) <= {0, 1, 255}


def test_what_does_not_go_with_words_is_refused(
    weights: Path, scenes: Path, table: Path, tmp_path: Path
) -> None:
    given: dict[str, Any] = {
        "data": scenes / "photos",
        "out": tmp_path / "l",
        "model": Path(MODEL),
        "weights": weights,
    }
    with pytest.raises(InputError, match="--words stands in place of --tags"):
        label(**given, words=table, tags=scenes / "tags.csv")
    with pytest.raises(InputError, match="--saliency attention reads a trained classifier"):
        label(**given, words=table, saliency="attention")
    with pytest.raises(InputError, match="say with --words what to look for"):
        label(**given)
    with pytest.raises(InputError, match="--weights belongs to an image–text model"):
        label(**{**given, "model": None}, tags=scenes / "tags.csv")
    with pytest.raises(InputError, match="--words needs an image–text model"):
        label(**{**given, "model": None}, words=table)


# Files of weights


def test_a_checkpoint_of_tensors_is_the_same_model(weights: Path, tmp_path: Path) -> None:
    image = torch.rand(1, 3, 32, 32) * 255
    wanted = open_clip_words(MODEL, weights, ["cat"])(image)
    state = torch.load(weights.with_suffix(".pt"), weights_only=True)
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, tmp_path / "wrapped.pt"
    )
    torch.save({**state, "logit_scale": state["logit_scale"][None]}, tmp_path / "list.pt")
    for file in (weights.with_suffix(".pt"), tmp_path / "wrapped.pt", tmp_path / "list.pt"):
        torch.testing.assert_close(open_clip_words(MODEL, file, ["cat"])(image), wanted)
    assert not open_clip_words(MODEL, weights, ["cat"]).training


class Code:
    def __reduce__(self) -> Any:
        return (print, ("this file has run code",))


def test_files_that_are_no_weights_of_the_model_are_refused(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = torch.load(weights.with_suffix(".pt"), weights_only=True)
    torch.save({"a": Code()}, tmp_path / "code.pt")
    torch.save({"epoch": 3, "state_dict": [1, 2]}, tmp_path / "odd.pt")
    torch.save({k: v for k, v in state.items() if k != "visual.proj"}, tmp_path / "part.pt")
    torch.save({**state, "visual.proj": torch.ones(24, 7)}, tmp_path / "wide.pt")
    for file, message in (
        ("code.pt", "is not a checkpoint of tensors alone .*save its state_dict as safetensors"),
        ("odd.pt", "holds no state_dict of tensors"),
        ("part.pt", r"visual\.proj is not there but \(24, 6\) in the model, and 1 of \d+ tensors differ"),
        ("wide.pt", r"visual\.proj is \(24, 7\) there but \(24, 6\)"),
        ("none.pt", "does not exist"),
    ):
        with pytest.raises(WeightsError, match=message):
            open_clip_words(MODEL, tmp_path / file, ["cat"])
    assert "has run code" not in capsys.readouterr().out


def test_models_that_cannot_be_had_are_one_sentence(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"OpenCLIP has no model 'ViT-B-17'; did you mean 'ViT-B-16'"):
        open_clip_words("open_clip:ViT-B-17", weights, ["cat"])
    with pytest.raises(InputError, match="needs weights from a local file: give one with --weights"):
        open_clip_words(MODEL, None, ["cat"])
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(InputError, match=r"needs the package open_clip_torch: pip install 'getam\[words\]'"):
        open_clip_words(MODEL, weights, ["cat"])


def test_loading_leaves_random_numbers_and_logging_alone(
    weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import logging

    state = torch.get_rng_state()
    open_clip_words(MODEL, weights, ["cat"])
    assert torch.equal(torch.get_rng_state(), state)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert logging.root.manager.disable == 0
