"""Saliency as the label of photos with one tag."""

import pytest
import torch

from getam.errors import InputError
from getam.labels.single_tag import saliency_label


def test_the_tag_where_salient_background_where_not_undecided_between():
    saliency = torch.tensor([[[0.0, 0.19, 0.2, 0.5, 0.51, 1.0]]])
    assert saliency_label(saliency, torch.tensor([[3]]))[0, 0].tolist() == [0, 0, 255, 255, 4, 4]
    assert saliency_label(saliency, torch.tensor([[3]]), high=0.9, low=0)[0, 0].tolist() == [255] * 5 + [4]


def test_whichever_slot_holds_the_tag():
    saliency = torch.ones(2, 1, 1)
    assert saliency_label(saliency, torch.tensor([[-1, 0], [19, -1]])).flatten().tolist() == [1, 20]


@pytest.mark.parametrize("tags", [[[2, 5]], [[-1, -1]], [[]]])
def test_photos_of_several_tags_or_none_are_undecided(tags):
    label = saliency_label(torch.rand(1, 3, 4), torch.tensor(tags, dtype=torch.int64))
    assert label.dtype == torch.uint8
    assert (label == 255).all()


def test_a_mask_is_saliency_too():
    mask = torch.tensor([[[True, False]]])
    assert saliency_label(mask, torch.tensor([[253]])).tolist() == [[[254, 0]]]


def test_misfitting_input_is_refused_by_name():
    with pytest.raises(InputError, match=r"runs from 0 to 255.*/ 255"):
        saliency_label(torch.tensor([[[0, 255]]]), torch.tensor([[0]]))
    with pytest.raises(InputError, match=r"runs from -0\.5 to 0\.5"):
        saliency_label(torch.tensor([[[-0.5, 0.5]]]), torch.tensor([[0]]))
    for classes in (torch.tensor([0]), torch.zeros(1, 1, 1)):
        with pytest.raises(InputError, match=r"expected \(B,H,W\) and \(B,K\)"):
            saliency_label(torch.zeros(1, 2, 2), classes)
    with pytest.raises(InputError, match=r"expected \(B,H,W\) and \(B,K\)"):
        saliency_label(torch.zeros(1, 1, 2, 2), torch.tensor([[0]]))
    with pytest.raises(InputError, match="0 ≤ low ≤ high ≤ 1"):
        saliency_label(torch.zeros(1, 2, 2), torch.tensor([[0]]), high=0.1)
    with pytest.raises(InputError, match=r"expected \(B,H,W\) and \(B,K\)"):
        saliency_label(torch.zeros(2, 2, 2), torch.tensor([[0]]))
