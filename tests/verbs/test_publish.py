"""`getam publish`: the folders load as they are, and say nothing of the machine."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, SpaceCard
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from getam.engine.model import load_model
from getam.engine.model_file import MODEL
from getam.engine.weights_hash import weights_hash
from getam.errors import InputError
from getam.verbs.publish import publish

FILES = {
    "model/README.md", "model/config.json", f"model/{MODEL}", "space/README.md", "space/app.py",
    "space/requirements.txt", f"space/model/{MODEL}",
}  # fmt: skip


def files(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def test_a_run(trained: Path, tmp_path: Path) -> None:
    out = publish(trained, out=tmp_path / "p", licence="mit")
    assert files(out) == FILES
    for place in ("model", "space/model"):
        net, wanted = load_model(out / place), load_model(trained)
        assert net.classes == wanted.classes
        assert weights_hash(out / place) == weights_hash(trained)
        assert all(map(torch.equal, net.state_dict().values(), wanted.state_dict().values()))
    card, space = ModelCard.load(out / "model" / "README.md"), SpaceCard.load(out / "space" / "README.md")
    assert card.data.license == space.data.license == "mit"
    assert card.data.model_name == space.data.title == "getam run"
    described = json.loads((out / "model" / "config.json").read_text())
    assert described["classes"] == ["blue", "red"]
    assert described["config"]["steps"] == 4
    assert (out / "space" / "requirements.txt").read_text().startswith("getam[app]==")
    code = (out / "space" / "app.py").read_text()
    (call,) = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.List)]
    words = ast.literal_eval(call)
    assert words[words.index("--host") + 1] == "0.0.0.0"
    assert (out / "space" / words[words.index("--model") + 1] / MODEL).is_file()


def test_no_path_of_this_machine(trained: Path, tmp_path: Path) -> None:
    with safe_open(trained / MODEL, framework="pt") as opened:
        about = dict(opened.metadata())
    config = {**json.loads(about["config"]), "weights": "/home/somebody/vit.safetensors"}
    run = tmp_path / "run"
    run.mkdir()
    save_file(load_file(trained / MODEL), run / MODEL, {**about, "config": json.dumps(config)})
    out = publish(run, out=tmp_path / "p", licence="mit", name="mine")
    for file in files(out):
        assert b"somebody" not in (out / file).read_bytes()
    assert "vit.safetensors" in (out / "model" / "README.md").read_text()
    assert ModelCard.load(out / "model" / "README.md").data.model_name == "mine"


def test_the_embedded_model(tmp_path: Path) -> None:
    out = publish(out=tmp_path / "p")
    card = ModelCard.load(out / "model" / "README.md")
    assert card.data.license == "apache-2.0"
    assert "cat, cow, dog, horse, person, sheep" in card.text
    assert load_model(out / "model").classes == load_model().classes


def test_what_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--licence"):
        publish(trained, out=tmp_path / "p")
    with pytest.raises(InputError, match="no name of the hub"):
        publish(trained, out=tmp_path / "p", licence="My Licence")
    with pytest.raises(InputError, match="does not exist"):
        publish(tmp_path / "none", out=tmp_path / "p", licence="mit")
    assert not (tmp_path / "p").exists()
    shutil.copytree(trained, tmp_path / "p")
    with pytest.raises(InputError, match="exists already"):
        publish(trained, out=tmp_path / "p", licence="mit")
