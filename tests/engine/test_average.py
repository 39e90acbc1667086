"""The running average against its sum written out."""

from __future__ import annotations

import pytest
import torch

from getam.engine.average import begin_average, move_average


def test_it_is_the_weighted_sum_of_all_states() -> None:
    states = [{"w": torch.tensor([float(n), -n]), "count": torch.tensor(n)} for n in (3, 5, 4, 8)]
    average = begin_average(states[0])
    assert average["w"] is not states[0]["w"]
    for step, state in enumerate(states[1:], start=1):
        move_average(average, state, 0.25, step)
    shares = [(1 - 0.25) * 0.25 ** (3 - n) if n else 0.25**3 for n in range(4)]
    shares[0] = (2 / 11) * 0.25 * 0.25  # the first step keeps 2/11
    shares[1] = (1 - 2 / 11) * 0.25 * 0.25
    expected = sum(share * state["w"] for share, state in zip(shares, states))
    assert torch.allclose(average["w"], expected)
    assert average["count"] == 8
    assert states[0]["w"].tolist() == [3.0, -3.0]


@pytest.mark.parametrize(("step", "kept"), [(1, 2 / 11), (9, 10 / 19), (1000, 0.9)])
def test_a_short_training_forgets_its_start(step: int, kept: float) -> None:
    average = {"w": torch.ones(1)}
    move_average(average, {"w": torch.zeros(1)}, 0.9, step)
    assert average["w"].item() == pytest.approx(kept)
