"""Labels as certain predictions, and judgements of them, against loops."""

import pytest
import torch

from getam.losses.adversarial import judgement_loss, one_hot_label


def test_a_label_is_1_in_its_own_channel_and_nothing_where_undecided() -> None:
    label = torch.tensor([[[0, 2, 255], [1, 255, 3]]], dtype=torch.uint8)
    found = one_hot_label(label, 3)
    assert (found.shape, found.dtype) == ((1, 4, 2, 3), torch.float32)
    for y in range(2):
        for x in range(3):
            assert found[0, :, y, x].tolist() == [float(label[0, y, x] == c) for c in range(4)]
    deep = one_hot_label(torch.tensor([[[255, 65535]]]), 300)
    assert deep.sum((1, 2)).tolist() == [[1, 0]]
    assert deep[0, 255, 0, 0] == 1


@pytest.mark.parametrize("real", [True, False])
def test_a_judgement_is_the_binary_cross_entropy_where_it_counts(real: bool) -> None:
    judged = torch.tensor([[[2.0, -1.0, 0.5]]], dtype=torch.float64, requires_grad=True)
    where = torch.tensor([[[True, True, False]]])
    p = [1 / (1 + torch.exp(torch.tensor(-value))) for value in (2.0, -1.0)]
    expected = sum(-(each if real else 1 - each).log() for each in p) / 2
    assert judgement_loss(judged, where, real=real).item() == pytest.approx(float(expected), rel=1e-5)
    assert torch.autograd.gradcheck(lambda x: judgement_loss(x, where, real=real), (judged,))
    nothing = judgement_loss(judged, torch.zeros_like(where), real=real)
    (slope,) = torch.autograd.grad(nothing, judged)
    assert nothing.item() == 0
    assert not slope.any()
