"""AFA's network against its matrices materialised head by head, and against the maximum of its own maps."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.autograd import gradcheck

import tiny
from getam.attention.capture import AttentionCall, MatrixCall, capture, global_calls
from getam.engine.model import load_model
from getam.engine.model_file import save_model
from getam.errors import InputError
from getam.nets import affinity as module
from getam.nets.affinity import AffinityHead, AffinitySegmenter
from getam.nets.build import build_segmenter
from getam.nets.encoder import VitEncoder

SIZES = ((8, 8, 12, 12), 8, 1)


def network(**options: Any) -> AffinitySegmenter:
    encoder = VitEncoder(tiny.vit(num_classes=0, dynamic_img_size=True, **options))
    return tiny.awake(AffinitySegmenter(encoder, tiny.CLASSES, *SIZES))


@pytest.mark.parametrize("options", [{}, {"reg_tokens": 4, "no_embed_class": True}])
def test_affinity_is_that_of_the_matrices(options: dict[str, Any]) -> None:
    """σ(1×1 convolution of A + Aᵀ), A = q kᵀ / √d of each head of the last two blocks, patches only."""
    net = network(**options)
    images = tiny.photos(2, 32, 40, model=net)
    with capture(net) as tap:
        net.class_scores(images)
    place = net.geometry(32, 40)
    planes = []
    for call in global_calls(tap, place)[-2:]:
        assert isinstance(call, AttentionCall)
        matrix = (call.query @ call.key.mT / call.query.shape[-1] ** 0.5)[
            :, :, place.prefix :, place.prefix :
        ]
        planes += list((matrix + matrix.mT).unbind(1))
    mix = net.affinity_head.mix
    expected = (torch.einsum("c,cbnm->bnm", mix.weight[0], torch.stack(planes)) + mix.bias).sigmoid()
    found = net.learned_affinity(images)
    assert found.shape == (2, 20, 20)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found, found.mT)
    torch.testing.assert_close(net(images, affinity=True).affinity, found)


def test_the_head_begins_with_the_mean_of_the_heads() -> None:
    mix = AffinityHead(4).mix
    assert (mix.weight.tolist(), mix.bias.tolist()) == ([[0.25] * 4], [0.0])


def test_gradient_of_the_head() -> None:
    torch.manual_seed(0)
    head = AffinityHead(2).double()
    query, key = (torch.randn(1, 2, 4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def learned(query: torch.Tensor, key: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return head([AttentionCall("a", query, key, key, key, 0.5, None)], 1)

    assert gradcheck(learned, (query, key, head.mix.weight, head.mix.bias))


def test_a_class_scores_as_the_peak_of_its_map() -> None:
    net = network()
    images = tiny.photos(2, 32, 40, model=net)
    maps = net.activations(images)
    assert maps.shape == (2, 3, 4, 5)
    patches = net.encoder(net.normalised(images))[3].patches
    expected = torch.einsum(
        "cd,bdhw->bchw", net.classifier.weight, net.norm(patches.movedim(1, 3)).movedim(3, 1)
    )
    torch.testing.assert_close(maps, expected)
    peaks = maps.flatten(2).max(2).values
    outputs = net(images)
    for scores in (net.class_scores(images), outputs.scores, net(images, masks=False).scores):
        torch.testing.assert_close(scores, peaks)
    assert outputs.logits.shape == (2, 4, 32, 40)
    assert net(images, masks=False).logits is None
    torch.testing.assert_close(net(images, affinity=True).logits, outputs.logits)
    torch.testing.assert_close(net.activations_and_affinity(images)[0], maps)
    assert net.classifier.bias is None
    assert net.geometry(32, 40).rows == "patches"


def test_its_heads_survive_the_model_file(tmp_path: Path) -> None:
    config = {"backbone": "small-hybrid", "channels": [8, 8, 8, 8], "width": 8, "enlarge": 1}
    net = build_segmenter("small-hybrid", tiny.CLASSES, (8, 8, 8, 8), 8, 1, network=AffinitySegmenter).eval()
    net.affinity_head.mix.weight.data.normal_()  # type: ignore[operator]
    save_model(tmp_path / "m.safetensors", net, config)
    loaded = load_model(tmp_path / "m.safetensors")
    assert isinstance(loaded, AffinitySegmenter)
    images = tiny.photos(1, model=net)
    for found, expected in zip(loaded(images, affinity=True), net(images, affinity=True)):  # type: ignore[call-arg]
        torch.testing.assert_close(found, expected)


def test_attention_by_hand_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "global_calls", lambda *_: [MatrixCall("block", torch.zeros(1, 2, 4, 4))])
    with pytest.raises(InputError, match=r"queries and keys, and block computes .* by hand: choose"):
        network()
