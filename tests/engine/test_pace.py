"""Steps tried on a copy: the mean over phases by a clock of our own, and nothing left behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from getam.engine import pace
from getam.recipes.base import CommonConfig


class Slow:
    """Losses that take as many seconds of a false clock as the progress says, and draw and write as they can."""

    name, needs = "slow", ()

    def __init__(self) -> None:
        self.clock, self.asked = 0.0, []

    def losses(
        self, net: nn.Module, batch: Mapping[str, Tensor], progress: float, config: CommonConfig
    ) -> dict[str, Tensor]:
        self.asked.append(progress)
        self.clock += 10 if len(self.asked) == 1 else 1 + progress
        return {"a": net(batch["image"]).sum() * torch.rand(()), "b": net(batch["image"]).mean()}


def test_the_mean_over_phases_without_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, net = Slow(), nn.BatchNorm1d(3)
    monkeypatch.setattr(pace.time, "perf_counter", lambda: recipe.clock)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    random = torch.random.get_rng_state()
    found = pace.seconds_a_step(recipe, CommonConfig(), net, {"image": torch.rand(4, 3)})
    torch.random.set_rng_state(random)
    assert recipe.asked == [0.0, 0.0, 0.5, 0.999]
    assert found == pytest.approx((1 + 1.5 + 1.999) / 3)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_random_numbers_are_as_if_nothing_had_been_tried() -> None:
    torch.manual_seed(3)
    batch: dict[str, Any] = {"image": torch.ones(4, 3)}
    pace.seconds_a_step(Slow(), CommonConfig(), nn.BatchNorm1d(3), batch)
    after = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(3))
