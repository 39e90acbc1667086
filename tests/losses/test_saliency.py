"""L_sal against binary cross-entropy on the softmaxed background probability."""

import math

import pytest
import torch

from getam.losses.saliency import saliency_loss


def test_equals_the_formula_on_probabilities() -> None:
    logits, saliency = torch.randn(2, 4, 3, 5), torch.rand(2, 3, 5)
    roi = torch.rand(2, 3, 5) < 0.7
    probability = logits.softmax(1)[:, 0]
    total = 0.0
    for b, y, x in roi.nonzero().tolist():
        p, target = float(probability[b, y, x]), 1 - float(saliency[b, y, x])
        total -= target * math.log(p) + (1 - target) * math.log(1 - p)
    found = saliency_loss(logits, saliency, roi)
    assert float(found) == pytest.approx(total / int(roi.sum()), rel=1e-4)


def test_an_empty_region_is_zero_with_a_graph() -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = saliency_loss(logits, torch.ones(1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.bool))
    assert float(loss) == 0
    loss.backward()
    assert not logits.grad.any()


def test_certain_and_wrong_is_finite() -> None:
    logits = torch.zeros(1, 2, 1, 1)
    logits[:, 0] = 500.0
    logits.requires_grad_()
    loss = saliency_loss(logits, torch.ones(1, 1, 1), torch.ones(1, 1, 1, dtype=torch.bool))
    assert float(loss) == pytest.approx(500.0)
    loss.backward()
    assert bool(logits.grad.isfinite().all())


def test_padding_has_no_gradient() -> None:
    logits = torch.randn(1, 3, 1, 2, requires_grad=True)
    saliency_loss(logits, torch.ones(1, 1, 2), torch.tensor([[[True, False]]])).backward()
    assert logits.grad[..., 0].any()
    assert not logits.grad[..., 1].any()


def test_a_region_of_one_pixel_counts_in_full_and_half_precision_is_summed_in_full() -> None:
    logits, saliency = torch.randn(1, 3, 2, 2).bfloat16(), torch.rand(1, 2, 2)
    roi = torch.zeros(1, 2, 2, dtype=torch.bool)
    roi[0, 1, 0] = True
    found = saliency_loss(logits, saliency, roi)
    p, target = float(logits.float().softmax(1)[0, 0, 1, 0]), 1 - float(saliency[0, 1, 0])
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(-target * math.log(p) - (1 - target) * math.log(1 - p), rel=1e-5)


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    saliency, roi = torch.rand(2, 2, 3, generator=generator), torch.ones(2, 2, 3, dtype=torch.bool)
    roi[0, 0] = False
    assert torch.autograd.gradcheck(lambda z: saliency_loss(z, saliency, roi), (logits,))
