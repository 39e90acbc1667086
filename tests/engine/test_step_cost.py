"""A step is tried as often as said, on the first photos, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from getam.data.collection import Collection, load_collection
from getam.engine import step_cost as room
from getam.engine.step_cost import step_cost
from getam.metrics.cost import Seconds
from getam.recipes.base import CommonConfig
from getam.recipes.supervised import SupervisedConfig, SupervisedRecipe


class Config(CommonConfig):
    def build(self, classes: Any) -> Any:
        assert self.weights == ""
        return nn.Linear(3, len(classes))


class Recipe:
    """Notes what it is called with, and takes as much memory as the progress says."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, int, bool]] = []

    def losses(
        self, net: nn.Module, batch: Mapping[str, Tensor], progress: float, config: Any
    ) -> dict[str, Tensor]:
        assert all(parameter.grad is None for parameter in net.parameters())
        self.asked.append((progress, len(batch["image"]), bool((batch["mask"] == 0).all())))
        large = torch.zeros(round(1e6 * progress)) + 1
        return {"a": net(batch["image"].mean((2, 3))).sum() + large.sum()}


@pytest.fixture
def photos(scenes: Path) -> Collection:
    return load_collection(scenes / "photos", scenes / "tags.csv")


def test_three_moments_of_a_training_are_tried(photos: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, spent = Recipe(), iter([(1.0, 0.5), (2.0, 1.0), (6.0, 3.0)])
    monkeypatch.setattr(room, "timed", lambda call: (call(), Seconds(*next(spent))))
    cost = step_cost(recipe, Config(size=32, batch_size=4, weights="a file"), photos)  # type: ignore[arg-type]
    moments = [0.0, 0.5, 0.999]
    assert recipe.asked == [(moment, 4, True) for moment in [0.0, *moments, *moments]]
    assert cost.parameters == 3 * 2 + 2
    assert 4e6 < cost.bytes < 13e6  # a million numbers, and what is made of them
    assert (cost.seconds, cost.cpu_seconds) == (3.0, 1.5)


def test_convolutions_are_laid_out_as_in_training(photos: Collection) -> None:
    class Convolved(Config):
        def build(self, classes: Any) -> Any:
            return nn.Conv2d(3, 2, 3)

    class Looks(Recipe):
        def losses(
            self, net: nn.Module, batch: Mapping[str, Tensor], progress: float, config: Any
        ) -> dict[str, Tensor]:
            weight = next(net.parameters())
            assert weight.is_contiguous(memory_format=torch.channels_last)
            return {"a": net(batch["image"]).sum()}

    step_cost(Looks(), Convolved(size=32, batch_size=2), photos)  # type: ignore[arg-type]


def test_random_numbers_are_as_if_nothing_had_been_tried(photos: Collection) -> None:
    torch.manual_seed(3)
    step_cost(Recipe(), Config(size=32, batch_size=99), photos)  # type: ignore[arg-type]
    after = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(3))


def test_a_recipe_that_learns_from_masks_needs_none(photos: Collection) -> None:
    config = SupervisedConfig(backbone="small-hybrid", size=32, batch_size=2)
    cost = step_cost(SupervisedRecipe(), config, photos)
    assert cost.parameters == sum(p.numel() for p in config.build(("a", "b")).parameters())
