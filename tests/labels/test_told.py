"""Labels of a segmenter that is told the tags: against slow pixel loops."""

import math

import pytest
import torch

from getam.errors import InputError
from getam.labels.told import told_beliefs, told_label


def test_beliefs_are_the_softmax_without_the_classes_the_photo_has_not() -> None:
    logits = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0)) * 3
    found = told_beliefs(logits, torch.tensor([3, 0, -1]))
    assert (found.shape, found.dtype) == ((3, 3, 4), torch.float32)
    for row in range(3):
        for column in range(4):
            powers = [math.exp(float(logits[label, row, column])) for label in (0, 4, 1)]
            wanted = torch.tensor([power / sum(powers) for power in powers])
            torch.testing.assert_close(found[:, row, column], wanted)


def test_beliefs_without_a_tag_are_all_background_and_half_precision_is_widened() -> None:
    found = told_beliefs(torch.randn(3, 2, 2).half(), torch.tensor([-1]))
    assert torch.equal(found, torch.ones(1, 2, 2))


def test_a_tag_beyond_the_logits_is_refused() -> None:
    assert told_beliefs(torch.zeros(4, 1, 1), torch.tensor([2])).shape == (2, 1, 1)
    with pytest.raises(InputError, match="tag 3 is beyond the 3 classes"):
        told_beliefs(torch.zeros(4, 1, 1), torch.tensor([3]))


@pytest.mark.parametrize("least", [0.0, 0.55])
@pytest.mark.parametrize("with_saliency", [False, True])
def test_labels_against_a_loop_over_pixels(least: float, with_saliency: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    beliefs = torch.rand(3, 6, 7, generator=generator).pow(2)
    beliefs /= beliefs.sum(0)
    saliency = torch.rand(6, 7, generator=generator)
    saliency[0, :3] = 0.5  # not above one half: not salient
    classes = torch.tensor([9, 2])
    found = told_label(beliefs, classes, saliency if with_saliency else None, least=least)
    assert found.dtype == torch.uint8
    kinds = set()
    for row in range(6):
        for column in range(7):
            own = beliefs[:, row, column].tolist()
            best = max(range(3), key=lambda place: own[place])
            label = (0, 10, 3)[best]
            if own[best] < least or (with_saliency and (label != 0) != (float(saliency[row, column]) > 0.5)):
                label = 255
            kinds.add(label)
            assert int(found[row, column]) == label
    assert kinds >= {0, 3, 10}


def test_a_photo_without_tags_is_background_whatever_is_salient() -> None:
    label = told_label(torch.ones(1, 2, 2), torch.tensor([], dtype=torch.int64), torch.ones(2, 2))
    assert label.tolist() == [[0, 0], [0, 0]]


def test_saliency_that_agrees_decides_nothing_away_and_one_map_is_enough() -> None:
    beliefs = torch.tensor([[[0.2, 0.9]], [[0.8, 0.1]]])
    assert told_label(beliefs, torch.tensor([253]), torch.tensor([[1.0, 0.0]])).tolist() == [[254, 0]]
    assert told_label(beliefs, torch.tensor([253]), torch.tensor([[0.0, 1.0]])).tolist() == [[255, 255]]


def test_what_does_not_belong_together_is_refused() -> None:
    beliefs = torch.full((2, 3, 4), 0.5)
    with pytest.raises(InputError, match=r"beliefs \(2, 3, 4\), 2 classes and saliency none"):
        told_label(beliefs, torch.tensor([0, 1]))
    with pytest.raises(InputError, match=r"saliency \(4, 3\) do not belong together"):
        told_label(beliefs, torch.tensor([0]), torch.zeros(4, 3))
    with pytest.raises(InputError, match="saliency runs from"):
        told_label(beliefs, torch.tensor([0]), torch.full((3, 4), 255.0))
    for least in (-0.1, 1.1):
        with pytest.raises(InputError, match="least belief"):
            told_label(beliefs, torch.tensor([0]), least=least)
