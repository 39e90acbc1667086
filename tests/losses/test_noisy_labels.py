"""Noise in labels, photo by photo and pixel by pixel, against loops."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from getam.losses.noisy_labels import noise_threshold, online_noise_filter, progressive_noise_loss


def given() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 3, 5, generator=random) * 2
    label = torch.randint(4, (2, 3, 5), generator=random)
    label[0, 0], label[1, 2, 1] = 255, 255
    return logits, label


def test_the_threshold_falls_linearly_between_its_ends() -> None:
    def at(progress: float, end: float = 11 / 12) -> float | None:
        return noise_threshold(progress, start=1 / 12, end=end, first=1.2, last=0.8)

    assert at(0.083) is None
    assert at(1 / 12) == 1.2
    assert at(0.5) == pytest.approx(1.0)
    assert at(11 / 12) == pytest.approx(0.8)
    assert at(0.99) == pytest.approx(0.8)
    assert at(1 / 12, end=1 / 12) == pytest.approx(0.8)


@pytest.mark.parametrize("always", [(), (2,), (0, 3)])
@pytest.mark.parametrize("threshold", [None, 1.0, 3.0])
def test_pixels_that_are_contradicted_are_dropped_and_still_counted(
    threshold: float | None, always: tuple[int, ...]
) -> None:
    logits, label = given()
    total, count, dropped = 0.0, 0, 0
    for photo in range(2):
        for y in range(3):
            for x in range(5):
                if (own := int(label[photo, y, x])) == 255:
                    continue
                count += 1
                loss = -float(logits[photo, :, y, x].log_softmax(0)[own])
                if threshold is None or loss <= threshold or own in always:
                    total += loss
                else:
                    dropped += 1
    found = progressive_noise_loss(logits, label, threshold, always)
    assert found.item() == pytest.approx(total / count, rel=1e-5)
    assert (dropped > 0) == (threshold is not None)


def test_the_ends_of_the_threshold() -> None:
    logits, label = given()
    plain = F.cross_entropy(logits, label, ignore_index=255)
    torch.testing.assert_close(progressive_noise_loss(logits, label, float("inf")), plain)
    torch.testing.assert_close(progressive_noise_loss(logits, label, None), plain)
    assert progressive_noise_loss(logits, label, 0.0) == 0
    assert progressive_noise_loss(logits, label, 0.0, (1,)) > 0


def test_no_decided_pixel_gives_0_with_a_graph() -> None:
    logits, label = given()
    logits.requires_grad_()
    for loss in (
        progressive_noise_loss(logits, torch.full_like(label, 255), 1.0),
        progressive_noise_loss(logits[:0], label[:0], None),
    ):
        (slope,) = torch.autograd.grad(loss, logits)
        assert loss.item() == 0
        assert not slope.any()


def test_long_class_lists_have_their_own_undecided_label() -> None:
    logits, label = torch.zeros(1, 301, 1, 2), torch.tensor([[[255, 65535]]])
    assert progressive_noise_loss(logits, label, None).item() == pytest.approx(
        torch.tensor(301.0).log().item()
    )


def test_the_gradient_is_right() -> None:
    logits, label = given()
    logits = logits.double().requires_grad_()
    for threshold in (None, 1.0):
        assert torch.autograd.gradcheck(lambda x, t=threshold: progressive_noise_loss(x, label, t), (logits,))


def overlapping(shared: int, union: int) -> tuple[Tensor, Tensor]:
    """Prediction and label (10,) whose foregrounds share so many pixels of the union."""
    predicted, label = torch.zeros(10, dtype=torch.bool), torch.zeros(10, dtype=torch.int64)
    predicted[:shared], label[:union] = True, 3
    return predicted, label


def filtered(cases: list[tuple[int, int]], least: list[float], undecided: int = 0) -> list[bool]:
    pairs = [overlapping(*case) for case in cases]
    predicted, label = (torch.stack(each)[:, None] for each in zip(*pairs, strict=True))
    if undecided:
        label[..., -undecided:] = 255
        predicted[..., -undecided:] = True
    return online_noise_filter(predicted, label, torch.tensor(least), 255).tolist()


def test_photos_are_believed_whose_overlap_is_above_their_own_level() -> None:
    assert filtered([(3, 6), (4, 6), (4, 6)], [0.5, 0.5, 0.7]) == [False, True, False]  # ½ is not above ½
    assert filtered([(3, 6), (4, 6), (4, 6)], [0.5, 0.5, 0.7], undecided=2) == [False, True, False]


def test_where_none_is_half_the_level_counts_and_then_all_are_believed() -> None:
    assert filtered([(2, 6), (1, 6)], [0.5, 0.5]) == [True, False]
    assert filtered([(1, 6), (0, 6)], [0.5, 0.5]) == [True, True]
    assert filtered([(0, 0), (1, 6)], [0.0, 0.9]) == [True, True]  # nothing found in nothing is no overlap
