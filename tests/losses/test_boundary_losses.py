"""L_B against a loop over pairs of cells, and its gradient against finite differences."""

import math

import torch

from getam.losses.boundary import RADIUS, boundary_losses

LABEL = torch.tensor(
    [[[0, 0, 1, 1, 0], [255, 2, 2, 1, 0], [0, 0, 0, 255, 1]], [[1, 1, 1, 1, 1]] * 3], dtype=torch.uint8
)


def in_loops(logits, label, radius, ignore=255):
    """(background, foreground, different): lists of the losses of pairs, each unordered pair once."""
    sets = ([], [], [])
    height, width = label.shape[1:]
    cells = [(y, x) for y in range(height) for x in range(width)]
    for photo in range(len(label)):
        boundary = logits[photo].sigmoid()
        for at, (yi, xi) in enumerate(cells):
            for yj, xj in cells[at + 1 :]:
                one, other = int(label[photo, yi, xi]), int(label[photo, yj, xj])
                length = math.hypot(yj - yi, xj - xi)
                if ignore in (one, other) or length >= radius:
                    continue
                line = [
                    float(boundary[y, x])
                    for y in range(min(yi, yj), max(yi, yj) + 1)
                    for x in range(min(xi, xj), max(xi, xj) + 1)
                    if abs((xj - xi) * (yi - y) - (xi - x) * (yj - yi)) / length < 1 - 1e-9
                ]
                alike = 1 - max(line)
                if one == other:
                    sets[int(one > 0)].append(-math.log(alike))
                else:
                    sets[2].append(-math.log(1 - alike))
    return sets


def mean(numbers):
    return sum(numbers) / len(numbers)


def test_each_term_is_the_mean_of_a_loop():
    logits = torch.randn(2, 3, 5, dtype=torch.float64) * 2
    for radius in (2, 3, 5):
        found = boundary_losses(logits, LABEL, radius=radius)
        sets = in_loops(logits, LABEL, radius)
        assert all(sets)
        for term, losses in zip(found, sets, strict=True):
            assert math.isclose(term.item(), mean(losses), rel_tol=1e-9)


def test_the_radius_is_ten_unless_told():
    row = torch.zeros(1, 1, 14, dtype=torch.uint8)
    logits = torch.randn(1, 1, 14)
    expected = mean(in_loops(logits.double(), row, 10)[0])
    torch.testing.assert_close(boundary_losses(logits, row).background, torch.tensor(expected).float())
    assert RADIUS == 10


def test_long_class_lists_have_another_number_for_undecided():
    deep = torch.where(LABEL == 255, 65535, LABEL.int())
    deep[deep == 2] = 255  # a class
    logits = torch.randn(2, 3, 5)
    for one, other in zip(boundary_losses(logits, LABEL), boundary_losses(logits, deep, ignore=65535)):
        assert torch.equal(one, other)


def test_a_cell_has_the_label_of_its_centre():
    label = torch.zeros(1, 6, 9, dtype=torch.uint8)
    label[:, 1::3, 4] = 3  # the centre of the cells in the middle column
    logits = torch.randn(1, 2, 3)
    cells = torch.tensor([[[0, 3, 0]] * 2], dtype=torch.uint8)
    for one, other in zip(boundary_losses(logits, label), boundary_losses(logits, cells)):
        assert torch.equal(one, other)


def test_the_gradient_is_that_of_finite_differences():
    logits = torch.randn(1, 3, 5, dtype=torch.float64, requires_grad=True)

    def weighted(values):
        found = boundary_losses(values, LABEL[:1], radius=4)
        return found.background / 2 + found.foreground / 2 + found.different

    assert torch.autograd.gradcheck(weighted, logits)


def test_a_boundary_between_two_classes_costs_nothing():
    label = torch.tensor([[[0, 0, 255, 1, 1]] * 3])
    logits = torch.full((1, 3, 5), -50.0)
    logits[:, :, 2] = 50.0
    assert max(term.item() for term in boundary_losses(logits, label)) < 1e-6
    everywhere, nowhere = torch.full((1, 3, 5), 50.0), torch.full((1, 3, 5), -50.0)
    assert [round(term.item()) for term in boundary_losses(everywhere, label)] == [50, 50, 0]
    assert [round(term.item()) for term in boundary_losses(nowhere, label)] == [0, 0, 50]


def test_extreme_logits_stay_finite():
    label = torch.tensor([[[0, 0, 1, 1]]])
    logits = torch.full((1, 1, 4), 500.0, requires_grad=True)
    found = boundary_losses(logits, label)
    sum(found).backward()
    assert found.background == found.foreground == 500
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_sets_without_pairs_give_nothing_and_a_graph():
    for value in (0, 1, 255):
        logits = torch.randn(1, 3, 4, requires_grad=True)
        found = boundary_losses(logits, torch.full((1, 3, 4), value))
        assert [term.item() > 0 for term in found] == [value == 0, value == 1, False]
        sum(found).backward()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()
        assert bool(logits.grad.any()) == (value != 255)


def test_half_precision_is_calculated_in_single():
    logits = torch.randn(2, 3, 5).half()
    for one, other in zip(boundary_losses(logits, LABEL), boundary_losses(logits.float(), LABEL)):
        assert torch.equal(one, other)
