"""The objective of ECACL against loops over photos and classes, and its gradients."""

import math

import pytest
import torch
from torch import Tensor

from getam.losses.domain import (
    class_prototypes,
    masked_consistency,
    negative_entropy,
    prototype_alignment,
    reverse_gradient,
)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_prototypes_are_class_means_whatever_the_order() -> None:
    features, classes = drawn(7, 3), torch.tensor([2, 0, 2, -1, 0, 2, 3])
    for order in (torch.arange(7), torch.randperm(7)):
        found, there = class_prototypes(features[order], classes[order], 5)
        assert there.tolist() == [True, False, True, True, False]
        for c in (0, 2, 3):
            members = [features[i] for i in range(7) if classes[i] == c]
            torch.testing.assert_close(found[c], sum(members) / len(members))
        assert not found[[1, 4]].any()


def test_alignment_by_hand() -> None:
    features, prototypes = drawn(5, 3), drawn(4, 3, seed=1)
    classes, there = torch.tensor([0, 3, -1, 1, 3]), torch.tensor([True, False, True, True])
    expected = []
    for i in (0, 1, 4):  # 2 has no class, the class of 3 no prototype
        near = {c: math.exp(-float(((features[i] - prototypes[c]) ** 2).sum())) for c in (0, 2, 3)}
        expected.append(-math.log(near[int(classes[i])] / sum(near.values())))
    found = prototype_alignment(features, classes, prototypes, there)
    assert float(found) == pytest.approx(sum(expected) / 3)


def test_alignment_is_least_at_the_prototype() -> None:
    prototypes, there = torch.eye(3, dtype=torch.float64), torch.ones(3, dtype=torch.bool)
    classes = torch.arange(3)
    at = prototype_alignment(prototypes, classes, prototypes, there)
    for seed in range(5):
        moved = torch.nn.functional.normalize(prototypes + 0.3 * drawn(3, 3, seed=seed), dim=1)
        assert prototype_alignment(moved, classes, prototypes, there) > at


def test_consistency_by_hand() -> None:
    weak, strong = 3 * drawn(6, 4), drawn(6, 4, seed=1)
    level = float(weak.softmax(1).amax(1).sort().values[2])  # the third least sure photo is just sure enough
    total = 0.0
    for i in range(6):
        p, q = weak[i].softmax(0), strong[i].softmax(0)
        if float(p.max()) >= level:
            total += -math.log(q[int(p.argmax())]) + 0.3 * sum(-math.log(x) for x in q.tolist()) / 4
    found = masked_consistency(weak, strong, threshold=level, uniform=0.3)
    assert float(found) == pytest.approx(total / 6)
    assert float(masked_consistency(weak, strong, threshold=1.01)) == 0
    plain = torch.nn.functional.cross_entropy(strong, weak.argmax(1))
    assert float(masked_consistency(weak, strong, threshold=0.0)) == pytest.approx(float(plain))


def test_the_weak_view_is_not_taught() -> None:
    weak, strong = drawn(3, 4).requires_grad_(), drawn(3, 4, seed=1).requires_grad_()
    masked_consistency(weak, strong, threshold=0.0).backward()
    assert weak.grad is None
    assert strong.grad is not None
    assert bool(strong.grad.any())


def test_entropy_by_hand() -> None:
    logits = drawn(3, 4)
    expected = sum(p * math.log(p) for row in logits.softmax(1).tolist() for p in row) / 3
    assert float(negative_entropy(logits)) == pytest.approx(expected)
    assert float(negative_entropy(torch.zeros(2, 8))) == pytest.approx(-math.log(8))


def test_features_and_classifier_play_against_each_other() -> None:
    """A step against the gradient: the classifier's entropy rises, the features' falls."""
    features, weights = drawn(4, 3).requires_grad_(), drawn(3, 5, seed=1).requires_grad_()
    before = -negative_entropy(features @ weights)
    plain = torch.autograd.grad(negative_entropy(features @ weights), (features, weights))
    found = torch.autograd.grad(negative_entropy(reverse_gradient(features) @ weights), (features, weights))
    torch.testing.assert_close(found[0], -plain[0])
    torch.testing.assert_close(found[1], plain[1])
    with torch.no_grad():
        assert -negative_entropy(features @ (weights - 0.01 * found[1])) > before
        assert -negative_entropy((features - 0.01 * found[0]) @ weights) < before


def test_gradients() -> None:
    classes, there = torch.tensor([0, 1, -1]), torch.tensor([True, True, False])
    inputs = (drawn(3, 2).requires_grad_(), drawn(3, 2, seed=1).requires_grad_())
    assert torch.autograd.gradcheck(lambda f, p: prototype_alignment(f, classes, p, there), inputs)
    assert torch.autograd.gradcheck(lambda f: class_prototypes(f, classes, 3)[0], inputs[:1])
    assert torch.autograd.gradcheck(
        lambda s: masked_consistency(inputs[1].detach(), s, threshold=0.5, uniform=0.2), inputs[:1]
    )
    assert torch.autograd.gradcheck(negative_entropy, inputs[:1])


def test_nothing_to_learn_from_is_zero_with_a_graph() -> None:
    features = drawn(2, 3).requires_grad_()
    none, empty = torch.tensor([-1, -1]), features[:0]
    for loss in (
        prototype_alignment(features, none, features.detach(), torch.ones(2, dtype=torch.bool)),
        prototype_alignment(features, torch.tensor([0, 1]), features * 0, torch.zeros(2, dtype=torch.bool)),
        masked_consistency(empty, empty, threshold=0.5, uniform=0.1),
        negative_entropy(empty),
    ):
        assert float(loss.detach()) == 0
        loss.backward()
    assert features.grad is not None
    assert not features.grad.any()
