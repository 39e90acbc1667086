"""CLIP-ES's class-aware affinity against its formula in plain loops, boxes found by flooding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from getam.errors import InputError
from getam.refine.class_aware import box_mask, class_aware_affinity, doubly_stochastic


def sinkhorn_in_loops(attention):
    """A nested list after 500 rounds."""
    D = [list(map(float, row)) for row in attention]
    N = range(len(D))
    for _ in range(500):
        columns = [sum(D[i][j] for i in N) for j in N]
        D = [[D[i][j] / columns[j] for j in N] for i in N]
        D = [[value / sum(row) for value in row] for row in D]
    return D


def boxes_in_loops(grid, threshold):
    """Flood from every patch above the threshold; the box around each flood."""
    height, width = len(grid), len(grid[0])
    low, high = min(map(min, grid)), max(map(max, grid))
    above = {
        (y, x) for y in range(height) for x in range(width) if grid[y][x] >= low + threshold * (high - low)
    }
    inside = set()
    while above:
        part, front = set(), [above.pop()]
        while front:
            y, x = front.pop()
            part.add((y, x))
            for there in [(y + a, x + b) for a in (-1, 0, 1) for b in (-1, 0, 1)]:
                if there in above:
                    above.remove(there)
                    front.append(there)
        ys, xs = [y for y, _ in part], [x for _, x in part]
        inside |= {(y, x) for y in range(min(ys), max(ys) + 1) for x in range(min(xs), max(xs) + 1)}
    return [[(y, x) in inside for x in range(width)] for y in range(height)]


@pytest.mark.parametrize(("power", "threshold"), [(2, 0.4), (1, 0.7), (3, 0.2), (0, 0.5)])
def test_equals_the_formula_in_loops(power, threshold):
    maps, attention = torch.rand(2, 2, 3, 4), torch.rand(2, 12, 12) ** 3 + 0.01
    found = class_aware_affinity(maps, attention, power=power, threshold=threshold)
    assert found.dtype == torch.float32
    for b in range(2):
        D = sinkhorn_in_loops(attention[b].tolist())
        A = [[(D[i][j] + D[j][i]) / 2 for j in range(12)] for i in range(12)]
        for k in range(2):
            m = maps[b, k].flatten().tolist()
            for _ in range(power):
                m = [sum(A[i][j] * m[j] for j in range(12)) for i in range(12)]
            boxes = torch.tensor(boxes_in_loops(maps[b, k].tolist(), threshold))
            wanted = torch.tensor(m).view(3, 4) * boxes
            torch.testing.assert_close(found[b, k], wanted, rtol=2e-3, atol=1e-4)


def test_the_papers_numbers_are_the_defaults():
    maps, attention = (
        torch.linspace(0, 1, 16).view(1, 1, 1, 16),
        torch.rand(1, 16, 16),
    )  # each threshold: other boxes
    found = class_aware_affinity(maps, attention)
    assert torch.equal(found, class_aware_affinity(maps, attention, power=2, threshold=0.4))
    for other in ({"power": 1}, {"power": 3}, {"threshold": 0.3}, {"threshold": 0.5}, {"threshold": 0.7}):
        assert not torch.equal(found, class_aware_affinity(maps, attention, **other))


def test_rows_and_columns_sum_to_one_whatever_attention_is():
    peaked = (torch.randn(2, 30, 30) * 4).softmax(-1)
    found = doubly_stochastic(peaked)
    torch.testing.assert_close(found.sum(1), torch.ones(2, 30), rtol=0, atol=2e-4)
    torch.testing.assert_close(found.sum(2), torch.ones(2, 30), rtol=0, atol=1e-5)
    assert (found >= 0).all()
    torch.testing.assert_close(doubly_stochastic(found), found, rtol=1e-3, atol=1e-4)
    ends = doubly_stochastic(
        torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    )  # no such matrix: but it ends, and is finite
    assert ends.isfinite().all()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.3, 0.5, 1.0]), min_size=5, max_size=5), min_size=4, max_size=4),
    st.sampled_from([0.0, 0.3, 0.4, 0.5, 1.0]),
)
def test_boxes_are_those_around_what_touches(grid, threshold):
    found = box_mask(torch.tensor([[grid]], dtype=torch.float64), threshold)[0, 0]
    assert found.tolist() == boxes_in_loops(grid, threshold)


def test_each_class_has_boxes_of_its_own():
    maps = torch.zeros(1, 2, 3, 3)
    maps[0, 0, 0, 0] = maps[0, 1, 2, 2] = 1
    found = class_aware_affinity(maps, torch.ones(1, 9, 9))
    assert found[0, 0].nonzero().tolist() == [[0, 0]]
    assert found[0, 1].nonzero().tolist() == [[2, 2]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"power": -1}, "power -1 must be 0 or more"),
        ({"threshold": 1.5}, "threshold 1.5"),
        ({"threshold": -0.1}, "-0.1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        class_aware_affinity(torch.rand(1, 1, 2, 2), torch.rand(1, 4, 4), **options)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"the attention \(1, 9, 9\)"):
        class_aware_affinity(torch.rand(1, 1, 2, 2), torch.rand(1, 9, 9))
