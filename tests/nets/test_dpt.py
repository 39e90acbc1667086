"""The decoder against another DPT: numpy, one window after the other, from the paper (arXiv 2103.13413, section 3).

Only the names of the weights come from `nets/dpt.py`; which layer sits where is written down here a second time.
"""

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from timm.models.deit import VisionTransformerDistilled
from torch import nn

import tiny
from getam.nets.build import build_segmenter
from getam.nets.dpt import DPT, SqueezeExcite
from getam.nets.encoder import ConvStem, HybridEncoder, VitEncoder
from getam.nets.segmenter import Segmenter

Array = NDArray[np.float64]
Weights = Mapping[str, Array]
EPSILON = 1e-5  # of a batch norm


def conv(x: Array, weight: Array, bias: Array | None = None, *, stride: int = 1, pad: int = 0) -> Array:
    """(D,h,w) → (E,h',w'), window by window."""
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    side = weight.shape[-1]
    rows, columns = ((length - side) // stride + 1 for length in x.shape[1:])
    out = np.zeros((len(weight), rows, columns))
    for i in range(rows):
        for j in range(columns):
            window = x[:, i * stride : i * stride + side, j * stride : j * stride + side]
            out[:, i, j] = (weight * window).sum((1, 2, 3))
    return out if bias is None else out + bias[:, None, None]


def spread(x: Array, weight: Array, bias: Array) -> Array:
    """A transposed convolution whose stride is its side: every pixel becomes a square of its own."""
    side = weight.shape[-1]
    out = np.zeros((weight.shape[1], x.shape[1] * side, x.shape[2] * side))
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            square = np.einsum("d,deij->eij", x[:, i, j], weight)
            out[:, i * side : (i + 1) * side, j * side : (j + 1) * side] = square
    return out + bias[:, None, None]


def norm(x: Array, w: Weights, name: str) -> Array:
    """Batch norm with the running statistics."""
    mean, var, weight, bias = (
        w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return ((x.T - mean) / np.sqrt(var + EPSILON) * weight + bias).T


def resized(x: Array, height: int, width: int) -> Array:
    """Bilinear, corners on corners, pixel by pixel."""
    out = np.zeros((len(x), height, width))
    for i in range(height):
        for j in range(width):
            v = i * (x.shape[1] - 1) / max(height - 1, 1)
            u = j * (x.shape[2] - 1) / max(width - 1, 1)
            top, left = min(int(v), x.shape[1] - 1), min(int(u), x.shape[2] - 1)
            bottom, right = min(top + 1, x.shape[1] - 1), min(left + 1, x.shape[2] - 1)
            a, b = v - top, u - left
            out[:, i, j] = (1 - a) * ((1 - b) * x[:, top, left] + b * x[:, top, right]) + a * (
                (1 - b) * x[:, bottom, left] + b * x[:, bottom, right]
            )
    return out


def gelu(x: Array) -> Array:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def residual_unit(x: Array, w: Weights, name: str) -> Array:
    """x plus twice (ReLU, 3×3 convolution, batch norm) of it."""
    y = norm(conv(np.maximum(x, 0), w[f"{name}.body.1.weight"], pad=1), w, f"{name}.body.2")
    return x + norm(conv(np.maximum(y, 0), w[f"{name}.body.4.weight"], pad=1), w, f"{name}.body.5")


def reassembled(patches: Array, cls: Array | None, factor: float, w: Weights, name: str) -> Array:
    """Read-out "project" where there is a class token, 1×1 convolution, and one resampling."""
    if cls is not None:
        mixed = np.zeros_like(patches)
        for i in range(patches.shape[1]):
            for j in range(patches.shape[2]):
                both = np.concatenate([patches[:, i, j], cls])
                mixed[:, i, j] = gelu(w[f"{name}.readout.0.weight"] @ both + w[f"{name}.readout.0.bias"])
        patches = mixed
    x = conv(patches, w[f"{name}.project.weight"], w[f"{name}.project.bias"])
    if factor > 1:
        assert w[f"{name}.resample.weight"].shape[-1] == factor
        return spread(x, w[f"{name}.resample.weight"], w[f"{name}.resample.bias"])
    if factor < 1:
        return conv(x, w[f"{name}.resample.weight"], w[f"{name}.resample.bias"], stride=2, pad=1)
    return x


def decoded(maps: list[Array], enlarge: int, w: Weights) -> Array:
    """Reassembled maps, finest first → logits: the deepest goes up, each finer one is added through a residual unit."""
    x1, x2, x3, x4 = (conv(x, w[f"scratch.{i}.weight"], pad=1) for i, x in enumerate(maps))

    def up(x: Array, to: tuple[int, ...], number: int) -> Array:
        # the paper resizes before this 1×1 convolution; the weights of a bilinear mean add up to 1, so they commute
        x = resized(residual_unit(x, w, f"fusion.{number}.refine"), *to)
        return conv(x, w[f"fusion.{number}.project.weight"], w[f"fusion.{number}.project.bias"])

    x = up(x4, x3.shape[1:], 3)
    x = up(x + residual_unit(x3, w, "fusion.2.skip"), x2.shape[1:], 2)
    x = up(x + residual_unit(x2, w, "fusion.1.skip"), x1.shape[1:], 1)
    finest = (enlarge * x1.shape[1], enlarge * x1.shape[2])
    x = up(x + residual_unit(x1, w, "fusion.0.skip"), finest, 0)
    y = conv(x, w["excite.conv.weight"], w["excite.conv.bias"], pad=1)
    squeezed = np.maximum(
        conv(y.mean((1, 2), keepdims=True), w["excite.gate.1.weight"], w["excite.gate.1.bias"]), 0
    )
    gate = 1 / (1 + np.exp(-conv(squeezed, w["excite.gate.3.weight"], w["excite.gate.3.bias"])))
    x = x + y * gate
    x = np.maximum(norm(conv(x, w["head.0.weight"], pad=1), w, "head.1"), 0)
    return conv(x, w["head.4.weight"], w["head.4.bias"])


def restless(net: nn.Module) -> None:
    """Every number of the network its own: batch norms too, which start as the identity."""
    generator = torch.Generator().manual_seed(11)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                assert tensor is not None
                tensor.uniform_(0.5, 1.5, generator=generator)
            for tensor in (module.bias.data, module.running_mean):
                assert tensor is not None
                tensor.normal_(0, 0.3, generator=generator)


def hybrid(enlarge: int) -> Segmenter:
    encoder = HybridEncoder(ConvStem((8, 12, 16)), (8, 12, 16), 8, width=24, depth=4, heads=3, grid=4)
    return tiny.awake(Segmenter(encoder, tiny.CLASSES, (5, 6, 7, 9), 8, enlarge))


def plain(enlarge: int, **options: object) -> Segmenter:
    model = tiny.vit(**{"num_classes": 0, "dynamic_img_size": True, **options})
    return tiny.awake(Segmenter(VitEncoder(model), tiny.CLASSES, (5, 6, 7, 9), 8, enlarge))


NETS = {
    "plain": (plain, {}, (4, 2, 1, 0.5)),
    "two prefix tokens": (plain, {"kind": VisionTransformerDistilled}, (4, 2, 1, 0.5)),
    "no class token": (plain, {"global_pool": "avg", "class_token": False}, (4, 2, 1, 0.5)),
    "hybrid": (hybrid, {}, (1, 1, 1, 0.5)),
}


@pytest.mark.parametrize("enlarge", [1, 2])
@pytest.mark.parametrize("name", NETS)
def test_logits_and_scores_are_those_of_plain_numpy(name: str, enlarge: int) -> None:
    make, options, factors = NETS[name]
    net = make(enlarge, **options)
    restless(net)
    photos = tiny.photos(2, 24, 40, net)
    with torch.no_grad():
        scores, logits = net(photos)
        taps = net.encoder((photos - net.mean) / net.std)
    w = {key: value.double().numpy() for key, value in net.decoder.state_dict().items()}
    for b in range(2):
        maps = []
        for i, (tap, factor) in enumerate(zip(taps, factors, strict=True)):
            cls = None if tap.prefix is None else tap.prefix[b, 0].double().numpy()
            maps.append(reassembled(tap.patches[b].double().numpy(), cls, factor, w, f"reassemble.{i}"))
        small = decoded(maps, enlarge, w)
        assert small.shape == (4, enlarge * 12, enlarge * 20)
        np.testing.assert_allclose(logits[b].numpy(), resized(small, 24, 40), rtol=1e-3, atol=1e-3)
        weight, bias = (
            net.classifier.weight.detach().double().numpy(),
            net.classifier.bias.detach().double().numpy(),
        )
        np.testing.assert_allclose(
            scores[b].numpy(), weight @ maps[3].mean((1, 2)) + bias, rtol=1e-4, atol=1e-4
        )


def test_only_what_the_paper_has_a_use_for_has_weights() -> None:
    names = {name for name, _ in plain(2).decoder.named_parameters()}
    assert not any(name.startswith("fusion.3.skip") for name in names)  # nothing is added to the deepest map
    assert not any(name.startswith("reassemble.2.resample") for name in names)
    unbiased = ("scratch.0.bias", "fusion.1.refine.body.1.bias", "fusion.1.refine.body.4.bias", "head.0.bias")
    assert not names & set(unbiased)
    assert not any("readout" in name for name in dict(hybrid(2).decoder.reassemble[:2].named_parameters()))


@pytest.mark.parametrize(("width", "hidden"), [(8, 4), (64, 4), (128, 8), (256, 16)])
def test_squeezed_to_a_sixteenth_but_never_below_four(width: int, hidden: int) -> None:
    layer = SqueezeExcite(width)
    assert layer.gate(torch.zeros(1, width, 2, 2)).shape == (1, width, 1, 1)
    assert layer.gate[1].weight.shape == (hidden, width, 1, 1)


def test_a_tenth_is_dropped_before_the_last_convolution_while_training() -> None:
    torch.manual_seed(0)
    net = hybrid(1)
    seen: list[torch.Tensor] = []
    net.decoder.head[1].weight.data.zero_()
    net.decoder.head[1].bias.data.fill_(9.0)  # the map is nine everywhere, unless it is dropped
    net.decoder.head[4].register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0].detach()))
    photos = tiny.photos(2, 64, 64, net)
    net(photos)
    net.train()(photos)
    kept, dropped = seen
    assert bool((kept == 9).all())
    assert 0.08 < float((dropped == 0).float().mean()) < 0.12
    assert float(dropped.max()) == pytest.approx(9 / 0.9)


def test_the_paper_s_decoder_doubles_unless_told_otherwise() -> None:
    encoder = HybridEncoder(ConvStem((8, 12, 16)), (8, 12, 16), 8, width=24, depth=4, heads=3, grid=4).eval()
    photos = tiny.photos(1)
    taps = encoder(photos)
    decoder = DPT(encoder, 3, (5, 6, 7, 9), 8).eval()
    assert decoder(taps, decoder.deepest(taps)).shape == (1, 4, 32, 32)
    assert Segmenter(encoder, tiny.CLASSES, (5, 6, 7, 9), 8).decoder.enlarge == 2
    assert build_segmenter("small-hybrid", ("a",), (5, 6, 7, 9), 8).decoder.enlarge == 2
