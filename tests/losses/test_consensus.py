"""Soft cross-entropy and consensus against loops over pixels and classes, and gradients against finite differences."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from getam.losses.consensus import consensus_loss, soft_cross_entropy

LABEL = torch.tensor([[[0, 1, 255], [2, 0, 1]], [[0, 3, 3], [0, 0, 255]]], dtype=torch.uint8)
TAGS = torch.tensor([[1.0, 1, 0], [0, 0, 1]])
KNOWN = torch.tensor([[True, True, False], [False, True, True]])


def given(**options: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = (2 * torch.randn(2, 4, 2, 3, generator=generator, **options) for _ in range(2))
    return first, second, torch.rand(2, 2, 3, generator=generator, **options)


def shares(logits: Tensor, photo: int, y: int, x: int, known: Tensor | None) -> list[float]:
    """Softmax of one pixel over the classes that count there."""
    label = int(LABEL[photo, y, x])
    raised = [
        0.0 if known is not None and c and c != label and not known[photo, c - 1] else math.exp(value)
        for c, value in enumerate(logits[photo, :, y, x].tolist())
    ]
    return [value / sum(raised) for value in raised]


def pixels() -> list[tuple[int, int, int]]:
    return [(p, y, x) for p in range(2) for y in range(2) for x in range(3) if LABEL[p, y, x] != 255]


def test_the_soft_cross_entropy_is_that_of_a_loop() -> None:
    logits, _, belief = given()
    for known in (None, KNOWN):
        found = []
        for p, y, x in pixels():
            q, b, label = shares(logits, p, y, x, known), float(belief[p, y, x]), int(LABEL[p, y, x])
            own = q[label] if label else sum(q[c + 1] for c in range(3) if TAGS[p, c])
            found.append(-(1 - b) * math.log(0.999 * q[0] + 5e-4) - b * math.log(0.999 * own + 5e-4))
        expected = torch.tensor(sum(found) / len(found))
        torch.testing.assert_close(soft_cross_entropy(logits, LABEL, belief, TAGS, known), expected)


def test_of_one_class_it_has_two_sides() -> None:
    """(1 − p, p) against (1 − b, b), as the reference has it."""
    logits = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    belief = torch.rand(1, 3, 3, generator=torch.Generator().manual_seed(2))
    p = logits.softmax(1)[:, 1]
    low, high = 0.999 * (1 - p) + 5e-4, 0.999 * p + 5e-4
    expected = -((1 - belief) * low.log() + belief * high.log()).mean()
    label = (belief >= 0.5).to(torch.uint8)
    torch.testing.assert_close(soft_cross_entropy(logits, label, belief, torch.ones(1, 1)), expected)


def test_the_consensus_is_that_of_a_loop() -> None:
    first, second, _ = given()
    for known in (None, KNOWN):
        found = []
        for p, y, x in pixels():
            one, other = shares(first, p, y, x, known), shares(second, p, y, x, known)
            both = [(a, b) for a, b in zip(one, other, strict=True) if a > 0]
            found.append(sum(a * math.log(a / b) + b * math.log(b / a) for a, b in both))
        expected = torch.tensor(sum(found) / len(found))
        torch.testing.assert_close(consensus_loss(first, second, LABEL, known), expected)
        torch.testing.assert_close(consensus_loss(second, first, LABEL, known), expected)
    assert consensus_loss(first, first, LABEL) == 0


def test_without_a_decided_pixel_they_are_zero_with_a_graph() -> None:
    first, second, belief = given()
    first.requires_grad_()
    nothing = torch.full_like(LABEL, 255)
    loss = soft_cross_entropy(first, nothing, belief, TAGS) + consensus_loss(first, second, nothing)
    loss.backward()
    assert loss.item() == 0
    assert first.grad is not None
    assert first.grad.abs().max() == 0


def test_a_photo_without_a_tag_is_background() -> None:
    logits, _, _ = given()
    label, nobody = torch.zeros(2, 2, 3), torch.zeros(2, 3)
    found = soft_cross_entropy(logits, label, torch.zeros(2, 2, 3), nobody)
    torch.testing.assert_close(found, -(0.999 * logits.softmax(1)[:, 0] + 5e-4).log().mean())


def test_certain_mistakes_stay_finite() -> None:
    logits = torch.tensor([1000.0, -1000.0]).view(1, 2, 1, 1).requires_grad_()
    one = torch.ones(1, 1, 1)
    loss = soft_cross_entropy(logits, one, one, torch.ones(1, 1)) + consensus_loss(logits, -logits, one)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_gradients() -> None:
    first, second, belief = given(dtype=torch.float64)
    first.requires_grad_()
    second.requires_grad_()
    assert torch.autograd.gradcheck(lambda a: soft_cross_entropy(a, LABEL, belief, TAGS), (first,))
    assert torch.autograd.gradcheck(lambda a, b: consensus_loss(a, b, LABEL), (first, second))
