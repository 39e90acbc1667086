"""The tally of tensor bytes against sums by hand."""

import time

import pytest
import torch

from getam.metrics.cost import peak_tensor_bytes, timed

KILO = 1000


def test_freed_tensors_make_room() -> None:
    def call() -> None:
        a = torch.zeros(KILO)  # 4 kB
        b = a + 1  # 8 kB
        del a  # 4 kB
        c = torch.zeros(KILO // 2)  # 6 kB
        del b, c

    assert peak_tensor_bytes(call) == 8 * KILO


def test_what_is_freed_is_subtracted_and_nothing_else() -> None:
    def call() -> None:
        a, b, c = torch.zeros(KILO), torch.zeros(2 * KILO), torch.zeros(5 * KILO)  # 32 kB
        del b  # 24 kB
        d = torch.zeros(3 * KILO)  # 36 kB
        del a, c, d  # nothing
        torch.zeros(8 * KILO)  # 32 kB

    assert peak_tensor_bytes(call) == 36 * KILO


def test_several_results_of_one_step_count_each() -> None:
    photo = torch.rand(KILO)
    # values and places: 4 kB and 8 kB
    assert peak_tensor_bytes(lambda: photo.sort()) == 12 * KILO
    # two views of one copy
    assert peak_tensor_bytes(lambda: photo.clone().split(KILO // 2)) == 4 * KILO


def test_views_and_writing_in_place_cost_nothing() -> None:
    def call() -> None:
        a = torch.zeros(KILO)
        a.view(10, 100)[3] += 1
        a.relu_()

    # a row of 100 numbers stays a view of a
    assert peak_tensor_bytes(call) == 4 * KILO


def test_what_was_there_before_does_not_count() -> None:
    weights = torch.zeros(100 * KILO)
    assert peak_tensor_bytes(lambda: weights.view(2, -1)[0].mul_(2)) == 0


def test_what_a_backward_pass_needs_is_held_until_then() -> None:
    x = torch.randn(KILO, requires_grad=True)

    def call() -> None:
        y = x.exp()  # 4 kB, saved
        z = y.exp()  # 8 kB, saved
        s = z.sum()
        del y, z
        torch.autograd.grad(s, x)

    found = peak_tensor_bytes(call)
    assert found >= 8 * KILO + 4
    # the gradient of each step beside what it is made from, and nothing twice
    assert found <= 5 * 4 * KILO


def test_timed_hands_the_result_on() -> None:
    found, seconds = timed(lambda: 7)
    assert found == 7
    assert min(seconds) >= 0


def test_seconds_are_of_the_wall_and_of_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, cpu = iter([10.0, 13.0]), iter([5.0, 12.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(wall))
    monkeypatch.setattr(time, "process_time", lambda: next(cpu))
    assert timed(lambda: None)[1] == (3.0, 7.0)
