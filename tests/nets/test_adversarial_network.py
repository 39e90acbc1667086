"""The segmenter with a discriminator: where its scores come from, what the discriminator computes, who is frozen."""

from typing import Any

import torch
import torch.nn.functional as F

import tiny
from getam.nets.adversarial import AdversarialSegmenter, Discriminator
from getam.nets.encoder import ConvStem, HybridEncoder


def network(width: int = 8) -> Any:
    torch.manual_seed(0)
    encoder = HybridEncoder(ConvStem((8, 12, 16)), (8, 12, 16), 8, width=24, depth=4, heads=3, grid=4)
    return tiny.awake(AdversarialSegmenter(encoder, tiny.CLASSES, (8, 8, 12, 12), width, 1))


def test_a_class_scores_as_the_mean_of_its_pixels() -> None:
    net = network()
    images = tiny.photos(2, model=net)
    seen: list[Any] = []
    net.decoder.register_forward_hook(lambda module, given, out: seen.append(out))
    scores, logits = net(images)
    torch.testing.assert_close(scores, seen[0][:, 1:].flatten(2).mean(2))
    torch.testing.assert_close(
        logits, F.interpolate(seen[0], size=(32, 32), mode="bilinear", align_corners=True)
    )
    torch.testing.assert_close(net.class_scores(images), scores)
    assert net(images, masks=False).logits is None
    assert not hasattr(net, "classifier")


def test_the_discriminator_is_five_convolutions() -> None:
    torch.manual_seed(0)
    judge, maps = Discriminator(4, 6), torch.rand(2, 4, 64, 96)
    found = maps
    weights = dict(judge.named_parameters())
    for place, channels in zip((0, 2, 4, 6, 8), (6, 12, 24, 48, 1), strict=True):
        found = F.conv2d(
            found, weights[f"layers.{place}.weight"], weights[f"layers.{place}.bias"], stride=2, padding=1
        )
        assert found.shape[1] == channels
        found = torch.where(found > 0, found, 0.2 * found) if place < 8 else found
    assert found.shape[2:] == (2, 3)
    expected = F.interpolate(found, size=(64, 96), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(judge(maps), expected)
    assert network(64).discriminator.layers[0].weight.shape[:2] == (16, 4)


def test_frozen_the_discriminator_gets_no_gradient_and_still_gives_one() -> None:
    net, maps = network(), torch.rand(1, 4, 32, 32, requires_grad=True)
    torch.testing.assert_close(net.judged(maps, frozen=True), net.judged(maps, frozen=False))
    own = list(net.discriminator.parameters())
    given, *slopes = torch.autograd.grad(net.judged(maps, frozen=True).sum(), [maps, *own], allow_unused=True)
    assert given.abs().max() > 0
    assert slopes == [None] * len(own)
    slopes = torch.autograd.grad(net.judged(maps, frozen=False).sum(), own)
    assert all(slope.abs().max() > 0 for slope in slopes[-2:])
