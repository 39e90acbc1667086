"""Numbers that are not finite are found wherever they are, and where they came from is named."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from getam.engine.not_finite import all_finite, first_bad_gradient, first_bad_output


def test_finite_means_every_number_of_every_tensor() -> None:
    good = [torch.tensor([1.0, -2.0]), torch.tensor(3), torch.zeros(0), torch.full((70000,), 60000.0).half()]
    assert all_finite(good)
    assert all_finite([])
    assert all_finite([torch.tensor(3)])
    for bad in (torch.nan, torch.inf, -torch.inf):
        assert not all_finite([*good, torch.tensor([0.0, bad, 1.0])])
        assert not all_finite([torch.tensor([bad]), *good])
    assert not all_finite([torch.tensor([torch.inf, -torch.inf])])


class Third(nn.Module):
    """Gives out its input three times, in whatever a module may return."""

    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"one": (x, [x / (x - x)]), "none": None}


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_the_first_module_that_gives_it_out_is_named(bad: float) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    x = torch.ones(1, 2)
    assert first_bad_output(net, lambda: net(x)) is None
    with torch.no_grad():
        net[1].bias[0] = bad
    assert first_bad_output(net, lambda: net(x)) == "1"
    assert not net[0]._forward_hooks
    nested = nn.ModuleDict({"inner": nn.Sequential(nn.Identity(), Third())})
    assert first_bad_output(nested, lambda: nested["inner"](x)) == "inner.1"


def test_hooks_go_where_the_forward_fails() -> None:
    net = nn.Sequential(nn.Identity())
    with pytest.raises(ZeroDivisionError):
        first_bad_output(net, lambda: 1 / 0)
    assert not net[0]._forward_hooks


def test_the_first_gradient_is_named() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    assert first_bad_gradient(net) is None
    for layer in net[1:]:
        layer.weight.grad = torch.zeros(2, 2)
        layer.bias.grad = torch.zeros(2)
    assert first_bad_gradient(net) is None
    net[1].bias.grad[1] = torch.nan
    net[2].weight.grad[0, 0] = torch.inf
    assert first_bad_gradient(net) == "1.bias"
