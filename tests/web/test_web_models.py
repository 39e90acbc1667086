"""Which networks a page may open, and that it names no files."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from getam.errors import InputError
from getam.nets.segmenter import Segmenter
from getam.web import models as module
from getam.web.models import EMBEDDED, Models, methods_of


def test_the_embedded_network_is_always_there_and_opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    real = module.open_model
    monkeypatch.setattr(
        module, "open_model", lambda *args, **more: opened.append(args) or real(*args, **more)
    )
    models = Models()
    assert models.names == (EMBEDDED,)
    first = models.open(EMBEDDED)
    assert isinstance(first.net, Segmenter)
    assert models.open(f" {EMBEDDED} ") is first
    assert opened == [(None,)]
    assert (first.labels, first.predicts) == (True, True)
    assert first.class_names() == first.net.classes
    assert methods_of(first)[0] == "getam"
    assert "rollout" not in methods_of(first)  # the same map for every class
    assert len(set(methods_of(first))) == len(methods_of(first))


def test_runs_and_weights_are_named_at_the_start(trained: Path, tmp_path: Path) -> None:
    net = timm.create_model("vit_tiny_patch16_224", num_classes=1000)
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    models = Models((str(trained), f"vit_tiny_patch16_224={tmp_path / 'w.safetensors'}"))
    assert models.names == (str(trained), "vit_tiny_patch16_224", EMBEDDED)
    run, vit = models.open(str(trained)), models.open("vit_tiny_patch16_224")
    assert run.class_names() == ("blue", "red")
    assert (vit.labels, vit.predicts, len(vit.class_names())) == (False, False, 998)  # two names twice
    assert "tabby" in vit.class_names()
    torch.testing.assert_close(vit.net.head.weight, net.head.weight)


def test_the_recipe_of_a_run_says_how_it_is_read(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(module, "usual_chain", lambda model: seen.append(model) or module.Pipeline("gradcam"))
    run = Models((str(trained),)).open(str(trained))
    assert seen == [str(trained)]
    assert methods_of(run)[0] == "gradcam"


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../run", "hf:a/b", "timm:vit_tiny_patch16_224", "open_clip:ViT-B-16", "", "no_such_net",
             "local-dir:/tmp", "vit_tiny_patch16_224/../x"],
)  # fmt: skip
def test_a_page_names_no_file_and_no_place(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "open_model", lambda *args, **more: pytest.fail(f"{args} was opened"))
    with pytest.raises(InputError, match=r"there is no model .* here: choose one of embedded.*--model"):
        Models().open(name)


def test_a_run_that_was_not_given_is_not_opened_by_its_path(trained: Path) -> None:
    with pytest.raises(InputError, match="there is no model"):
        Models().open(str(trained))


def test_any_name_of_timms_is_asked_for_at_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def hub(*args: object, device: object) -> object:
        asked.append(args)
        return timm.create_model("test_vit", num_classes=3)

    monkeypatch.setattr(module, "open_model", hub)
    models = Models()
    opened = models.open("vit_tiny_patch16_224.augreg_in21k")
    assert asked == [("timm:vit_tiny_patch16_224.augreg_in21k",)]
    assert opened.class_names() == ("0", "1", "2")


def test_two_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    models = Models()
    monkeypatch.setattr(Models, "_load", lambda self, name: loaded.append(name) or name)
    for name in ("a", "b", "a", "c", "a", "b"):
        assert models.open(name) == name
    assert loaded == ["a", "b", "c", "b"]
