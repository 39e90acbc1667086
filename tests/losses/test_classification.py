"""L_cls against its formula, in the paper's letters."""

import math

import pytest
import torch

from getam.losses.classification import classification_loss


def test_equals_the_formula() -> None:
    scores, tags = torch.randn(3, 4), (torch.rand(3, 4) < 0.5).float()
    total = 0.0
    for b in range(3):
        for c in range(4):
            p = 1 / (1 + math.exp(-float(scores[b, c])))
            total -= math.log(p) if tags[b, c] else math.log(1 - p)
    assert float(classification_loss(scores, tags)) == pytest.approx(total / 12, rel=1e-5)


def test_gradient_is_probability_minus_tag() -> None:
    scores, tags = torch.randn(2, 3, requires_grad=True), torch.tensor([[1, 0, 0], [0, 1, 1]])
    classification_loss(scores, tags).backward()
    torch.testing.assert_close(scores.grad, (scores.detach().sigmoid() - tags) / 6)


def test_large_scores_stay_finite() -> None:
    scores = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = classification_loss(scores, torch.tensor([[0.0, 1.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(1e4)
    assert bool(scores.grad.isfinite().all())


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_nothing_to_classify_costs_nothing(shape: tuple[int, int]) -> None:
    scores = torch.zeros(shape, requires_grad=True)
    loss = classification_loss(scores, torch.zeros(shape))
    assert loss.item() == 0
    loss.backward()


def test_half_precision_scores_are_summed_in_full() -> None:
    assert (
        classification_loss(torch.zeros(1, 2, dtype=torch.bfloat16), torch.zeros(1, 2)).dtype == torch.float32
    )


@pytest.mark.parametrize("known", [None, torch.tensor([[True, False, True], [True, True, True]])])
def test_gradients(known: torch.Tensor | None) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    tags = torch.tensor([[1.0, 0, 0], [0, 1, 1]])
    assert torch.autograd.gradcheck(lambda z: classification_loss(z, tags, known), (scores,))
