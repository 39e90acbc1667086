"""What is asked of train → a configuration: steps that suit the photos, and the start that is here where no hub is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from getam.errors import WeightsError
from getam.recipes import find_recipe
from getam.recipes.base import CommonConfig, Config
from getam.recipes.classifier import ClassifierConfig
from getam.recipes.getam import GetamConfig
from getam.verbs import train_config as verb
from getam.verbs.train_config import configure, with_weights


@pytest.mark.parametrize(
    ("given", "epochs", "photos", "steps"),
    [
        ({}, None, 60, 194), ({"weights": "embedded"}, None, 60, 116), ({"weights": ""}, None, 60, 775),
        ({"steps": 7}, None, 60, 7), ({}, 2, 160, 20),
    ],
)  # fmt: skip
def test_steps_suit_the_photos_unless_they_are_given(
    given: dict[str, Any], epochs: float | None, photos: int, steps: int
) -> None:
    assert configure(find_recipe("getam"), "light", given, epochs, photos).steps == steps


def test_a_preset_has_its_own_steps() -> None:
    assert configure(find_recipe("getam"), "paper-voc", {}, None, 60).steps == 52_910


@pytest.mark.parametrize(
    ("recipe", "preset", "given", "rate"),
    [
        ("getam", "light", {"backbone": "vit_tiny_patch16_224"}, 3e-5), ("getam", "light", {}, 1e-4),
        ("getam", "light", {"backbone": "vit_small_r26_s32_224"}, 3e-5),
        ("self-training", "light", {"backbone": "vit_tiny_patch16_224"}, 3e-5),
        ("getam", "light", {"backbone": "vit_tiny_patch16_224", "pretrained_lr": 1e-4}, 1e-4),
        ("getam", "light", {"backbone": "vit_tiny_patch16_224", "weights": ""}, 1e-4),  # nothing to forget
        ("getam", "paper-voc", {"backbone": "vit_tiny_patch16_224"}, 0.04),
        ("classifier", "vit", {"backbone": "vit_tiny_patch16_224"}, 2e-5), ("acr", "light", {}, 2e-5),
    ],
)  # fmt: skip
def test_the_backbone_s_rate_suits_it_unless_it_is_given(
    recipe: str, preset: str, given: dict[str, Any], rate: float
) -> None:
    assert configure(find_recipe(recipe), preset, given, None, 60).pretrained_lr == rate


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A hub that cannot be reached, and the names it was asked for."""
    asked: list[str] = []

    def unreachable(create: Callable[[], Any], name: str) -> Any:
        asked.append(name)
        raise WeightsError("no hub")

    monkeypatch.setattr(verb, "from_hub", unreachable)
    return asked


def test_without_a_hub_the_embedded_model_is_the_start_and_that_is_said(
    hub: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = with_weights(GetamConfig(), ("car",), tmp_path)
    assert found == GetamConfig(weights="embedded")
    assert hub == ["tf_efficientnet_lite0"]
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "the weights of tf_efficientnet_lite0 are not here and the hub cannot be reached: training starts from the "
        "model that comes with the package (--weights embedded), which has learned from photos of animals"
    )


def test_a_run_that_began_so_goes_on_so(hub: list[str], tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("weights: embedded\n")
    assert with_weights(Config(), ("car",), tmp_path).weights == "embedded"
    assert hub == []
    for text in ("weights: null\n", "weights", "{", ""):
        (tmp_path / "config.yaml").write_text(text)
        with_weights(Config(), ("car",), tmp_path)
    assert len(hub) == 4


@pytest.mark.parametrize("made", ["state.pt", "metrics.jsonl", "1-getam"])
def test_a_run_that_began_with_the_hubs_weights_goes_on_without_the_hub(
    made: str, hub: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("config.yaml", "env.json", "data.jsonl"):
        (tmp_path / name).write_text("weights: null\n")
    assert with_weights(Config(), ("car",), tmp_path).weights == "embedded"  # nothing was made of them yet
    assert hub == ["tf_efficientnet_lite0"]
    caplog.clear()
    (tmp_path / made).touch()
    config = Config()
    assert with_weights(config, ("car",), tmp_path) is config
    assert hub == ["tf_efficientnet_lite0"]
    assert not caplog.records


@pytest.mark.parametrize(
    "config",
    [
        Config(weights="a.safetensors"), Config(weights=""), Config(weights="embedded"),
        Config(backbone="small-hybrid"),
        ClassifierConfig(), CommonConfig(),
    ],
)  # fmt: skip
def test_who_needs_no_hub_is_left_alone(config: CommonConfig, hub: list[str], tmp_path: Path) -> None:
    assert with_weights(config, ("car",), tmp_path) is config
    assert hub == []


def test_a_network_of_another_shape_has_no_such_start(
    hub: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = Config(width=16)
    assert with_weights(config, ("car",), tmp_path) is config
    assert not caplog.records


def test_with_a_hub_its_weights_are_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(verb.timm, "create_model", lambda *given, **options: made.append((given, options)))
    monkeypatch.setattr(verb, "from_hub", lambda create, name: create())
    config = Config()
    assert with_weights(config, ("car",), tmp_path) is config
    assert made == [(("tf_efficientnet_lite0",), {"pretrained": True})]
