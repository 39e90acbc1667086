"""Which layers are read by default, what is read there, and how it becomes a grid."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tiny
from getam.errors import CaptureError
from getam.maps.features import (
    _like_the_photo,
    default_layers,
    feature_taps,
    is_transformer,
    last_layer,
    on_grid,
)
from getam.maps.methods.multi_layer import multi_layer_cam


@pytest.mark.parametrize(
    ("depth", "blocks"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (8, [1, 3, 5, 7]), (12, [2, 5, 8, 11])]
)
def test_a_transformer_is_read_at_the_quarters_of_its_depth(depth: int, blocks: list[int]) -> None:
    model, images = tiny.vit(depth=depth), tiny.photos(1)
    assert is_transformer(model, images)
    assert default_layers(model, images) == [f"blocks.{i}.attn" for i in blocks]
    assert last_layer(model, images) == f"blocks.{depth - 1}.attn"


def test_the_last_module_of_each_resolution_is_read() -> None:
    assert not is_transformer(tiny.cnn(), tiny.photos(1))
    assert default_layers(tiny.cnn(), tiny.photos(3)) == ["features.0", "features.1", "features"]


class Path(nn.Module):
    """A network of the given steps, with an average and a head behind them."""

    def __init__(self, *steps: nn.Module, channels: int = 4) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)
        self.head = nn.Linear(channels, 3)

    def forward(self, images: Tensor) -> Tensor:
        for step in self.steps:
            images = step(images)
        return self.head(images.mean((2, 3)))


def test_what_pools_or_runs_twice_or_is_no_grid_is_not_read() -> None:
    convolution, relu = nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU()
    for pooling in (nn.AdaptiveAvgPool2d((4, 4)), nn.AdaptiveMaxPool2d((4, 4))):
        model = Path(convolution, relu, nn.Conv2d(4, 4, 3, 2, 1), relu, pooling)
        assert default_layers(model, tiny.photos(2)) == ["steps.0", "steps.2"]
    wide = Path(convolution, nn.AvgPool2d((8, 1)))  # 2×16: not the photo's shape
    assert default_layers(wide, tiny.photos(1)) == ["steps.0"]
    with pytest.raises(CaptureError, match="no patch_embed"):
        default_layers(Path(nn.Conv2d(3, 4, 32)), tiny.photos(1))


def test_layers_are_found_without_touching_statistics() -> None:
    model = tiny.cnn().train()
    before = [buffer.clone() for buffer in model.buffers()]
    default_layers(model, tiny.photos(2))
    assert all(map(torch.equal, model.buffers(), before))
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("grid", "photo", "alike"),
    [
        ((1, 1), (64, 64), False),
        ((2, 2), (64, 64), True),
        ((1, 2), (32, 64), True),
        ((64, 64), (64, 64), True),
        ((65, 64), (64, 64), False),
        ((64, 65), (64, 64), False),
        ((14, 14), (64, 64), True),
        ((62, 60), (64, 64), True),
        ((63, 60), (64, 64), False),
        ((60, 62), (64, 64), True),
        ((60, 63), (64, 64), False),
        ((16, 8), (64, 64), False),
        ((8, 16), (64, 64), False),
        ((8, 16), (64, 128), True),
    ],
)
def test_a_feature_map_has_the_shape_of_the_photo(
    grid: tuple[int, int], photo: tuple[int, int], alike: bool
) -> None:
    assert _like_the_photo(grid, photo) is alike


def test_an_activation_in_place_does_not_change_what_was_read() -> None:
    """`features.1.1` is a batch norm that a ReLU overwrites."""
    model, images = tiny.cnn(), tiny.photos(1)
    with feature_taps(model, ["features.1.1"]) as taps:
        model(images)
    assert taps["features.1.1"].min() < 0
    plain = tiny.cnn()
    for module in plain.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    options: dict[str, Any] = {"layers": ["features.1.1"], "weighting": "elementwise", "aggregate": "none"}
    found, wanted = (multi_layer_cam(net, images, [[1]], **options).values for net in (model, plain))
    assert wanted.any()
    torch.testing.assert_close(found, wanted)


def test_taps_say_what_they_cannot_read() -> None:
    relu = nn.ReLU()
    model = Path(nn.Conv2d(3, 4, 3), relu, relu)
    twice = pytest.raises(CaptureError, match=r"steps\.1 ran more than once in one forward")
    with twice, feature_taps(model, ["steps.1"]):
        model(tiny.photos(1))
    model = Path(nn.Conv2d(3, 4, 3))
    with (
        pytest.raises(CaptureError, match=r"steps\.0 did not run in the forward"),
        feature_taps(model, ["steps.0"]),
    ):
        pass

    class Pair(nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return images, images

    two = nn.Sequential(Pair())
    with pytest.raises(CaptureError, match="0 gives tuple, not one tensor"), feature_taps(two, ["0"]):
        two(tiny.photos(1))


def test_the_graph_of_a_tap_begins_there_unless_there_is_one_below() -> None:
    model, images = tiny.cnn().requires_grad_(False), tiny.photos(1)
    with feature_taps(model, ["features.0", "features.1"]) as taps:
        model(images)
    assert taps["features.0"].is_leaf
    assert taps["features.0"].requires_grad
    assert not taps["features.1"].is_leaf


def test_tokens_lose_their_prefix_and_channels_come_first() -> None:
    model, images = tiny.vit(reg_tokens=2, img_size=(32, 16)), tiny.photos(2, 32, 16)
    tokens = torch.randn(2, 3 + 8, 5)
    found = on_grid(tokens, model, images, "x")
    assert found.shape == (2, 5, 4, 2)
    for y in range(4):
        for x in range(2):
            assert torch.equal(found[:, :, y, x], tokens[:, 3 + 2 * y + x])
    channels = torch.randn(2, 5, 4, 2)
    assert torch.equal(on_grid(channels, model, images, "x"), channels)
    last = nn.Identity()
    last.output_fmt = "NHWC"  # type: ignore[assignment]
    assert torch.equal(on_grid(channels, last, images, "x"), channels.permute(0, 3, 1, 2))
    assert on_grid(channels.half(), model, images, "x").dtype == torch.float32
    assert on_grid(channels.double(), model, images, "x").dtype == torch.float64
    assert not on_grid(channels.requires_grad_(), model, images, "x").requires_grad
    with pytest.raises(CaptureError, match=r"x holds \(2, 10, 5\), not \(B, 3 \+ 8, D\) tokens"):
        on_grid(tokens[:, 1:], model, images, "x")
    with pytest.raises(CaptureError, match=r"x holds \(1, 11, 5\)"):
        on_grid(tokens[:1], model, images, "x")
    with pytest.raises(CaptureError, match=r"x holds \(2, 5\): a class activation map needs"):
        on_grid(torch.randn(2, 5), model, images, "x")
