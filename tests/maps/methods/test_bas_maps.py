"""The learned maps of a network, by class, and one clear sentence for networks without any."""

import pytest
import torch

import tiny
from getam.errors import CaptureError, InputError
from getam.maps.methods.bas import bas
from getam.nets.bas import build_bas

PHOTOS = tiny.photos(2, 64, 32) * 60 + 127


def test_maps_are_those_of_the_head_in_the_order_asked() -> None:
    net = build_bas("test_resnet", tiny.CLASSES, weights="").eval()
    maps = bas(net, PHOTOS, [[2, 0], [1]])
    expected = torch.sigmoid(net.generator(net.low((PHOTOS - net.mean) / net.std)))
    torch.testing.assert_close(maps.values[0], expected[0, [2, 0]].detach())
    torch.testing.assert_close(maps.values[1, 0], expected[1, 1].detach())
    assert float(maps.values[1, 1].abs().max()) == 0
    scores = net.log_odds(net.class_scores(PHOTOS))  # of each class against all others
    torch.testing.assert_close(maps.scores[0], scores[0, [2, 0]].detach())
    assert maps.valid.tolist() == [[True, True], [True, False]]
    assert maps.grid == (4, 2)
    assert maps.method == "bas"
    assert not maps.values.requires_grad
    with torch.inference_mode():  # no gradients are needed
        assert torch.equal(bas(net, PHOTOS, [[2, 0], [1]]).values, maps.values)


def test_a_network_in_training_is_left_as_it_was() -> None:
    net = build_bas("test_resnet", tiny.CLASSES, weights="")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    alone, together = bas(net, PHOTOS[:1], [[0]]), bas(net, PHOTOS, [[0], [0]])
    torch.testing.assert_close(alone.values[0], together.values[0])
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_a_network_without_the_head_is_refused() -> None:
    with pytest.raises(CaptureError, match=r"bas reads a learned map head.*--recipe bas"):
        bas(tiny.vit(), tiny.photos(1), [[0]])
    with pytest.raises(InputError, match="class 3 of photo 0"):
        bas(build_bas("test_resnet", tiny.CLASSES, weights=""), PHOTOS[:1], [[3]])
