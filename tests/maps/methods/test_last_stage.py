"""last_stage() against the materialised matrices of windowed and multi-scale models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import tiny
from getam.errors import CaptureError, InputError
from getam.maps.methods.last_stage import last_grid, last_stage
from getam.maps.registry import find_method
from getam.nets.classifier import Classifier
from matrices import every_matrix


def swin() -> Any:
    return timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=32, window_size=4, embed_dim=12, depths=(2, 2), num_heads=(1, 2),
        num_classes=5,
    )  # fmt: skip


def swin_v2() -> Any:
    model = timm.create_model(
        "swinv2_tiny_window8_256", img_size=32, window_size=4, embed_dim=12, depths=(2, 2), num_heads=(1, 2),
        num_classes=5,
    )  # fmt: skip
    for norm in (module for module in model.modules() if isinstance(module, nn.LayerNorm)):
        nn.init.ones_(norm.weight)  # the norms that end its branches start at zero
    return model


def pvt() -> Any:
    return timm.create_model(
        "pvt_v2_b0", embed_dims=(8, 12, 16, 24), num_heads=(1, 1, 2, 2), depths=(1, 1, 1, 2), num_classes=5
    )


MODELS: dict[str, tuple[Callable[[], Any], int, int]] = {
    # build, side of the photo, attentions of the last stage
    "Swin": (swin, 32, 2),
    "Swin v2": (swin_v2, 32, 2),
    "PVT v2": (pvt, 96, 2),
}


def by_definition(model: nn.Module, image: Tensor, c: int, positions: int, count: int) -> Tensor:
    A, G = every_matrix(model, image, c, pool=False)
    total = torch.zeros(positions)
    for attention, gradient in zip(A[-count:], G[-count:]):
        assert attention.shape[0] == 1
        assert attention.shape[-2:] == (positions, positions)
        block = (gradient * attention).clamp(min=0)[0].mean(0) * gradient.clamp(min=0)[0].mean(0)
        total += block.mean(0)
    return total


@pytest.mark.parametrize("name", MODELS)
def test_equals_the_matrices_of_the_last_stage(name: str) -> None:
    build, side, count = MODELS[name]
    model, images = tiny.awake(build()), tiny.photos(2, side, side)
    maps = last_stage(model, images, [[2, 0], [1]])
    assert maps.method == "last-stage[attn_grad2]"
    assert maps.rows == "patches"
    h, w = maps.grid
    assert maps.values.shape == (2, 2, h, w)
    for photo, slot, c in ((0, 0, 2), (0, 1, 0), (1, 0, 1)):
        wanted = by_definition(model, images[photo : photo + 1], c, h * w, count).view(h, w)
        assert wanted.max() > 0
        torch.testing.assert_close(
            maps.values[photo, slot], wanted, rtol=1e-3, atol=1e-6 * float(wanted.max())
        )
    assert not maps.values[1, 1].any()


def test_a_module_around_the_transformer_gets_its_maps() -> None:
    model = tiny.awake(pvt())
    classifier = Classifier(model, tuple("abcde")).eval()
    photos = tiny.photos(2, 96, 96).abs() * 60
    wanted = last_stage(model, (photos - classifier.mean) / classifier.std, [[1, 0], [2]])
    torch.testing.assert_close(last_stage(classifier, photos, [[1, 0], [2]]).values, wanted.values)
    assert wanted.values.any()


def test_windows_smaller_than_the_last_grid_are_refused() -> None:
    model = tiny.awake(
        timm.create_model(
            "swin_tiny_patch4_window7_224", img_size=64, window_size=4, embed_dim=12, depths=(2, 2),
            num_heads=(1, 2), num_classes=5,
        )
    )  # fmt: skip
    with pytest.raises(
        CaptureError, match="the last attention is 16×16, not 64×64 over the last grid of 8×8"
    ):
        last_stage(model, tiny.photos(1, 64, 64), [[1]])


def test_channel_attention_and_convolutions_are_refused() -> None:
    edgenext = timm.create_model("edgenext_xx_small", num_classes=5).eval()
    with pytest.raises(CaptureError, match="as in models whose grid shrinks: --method getam reads"):
        last_stage(edgenext, tiny.photos(1, 64, 64), [[1]])
    with pytest.raises(CaptureError, match="does not name the stride"):
        last_stage(nn.Linear(2, 2), tiny.photos(1), [[0]])


def test_it_is_found_by_its_own_name_and_checks_its_options() -> None:
    assert find_method("last-stage").make is last_stage
    with pytest.raises(InputError, match="coupling"):
        last_stage(tiny.awake(swin()), tiny.photos(1), [[1]], coupling="no")


def test_the_last_grid_is_the_photo_over_the_stride_rounded_up() -> None:
    outer, inner = nn.Module(), nn.Module()
    inner.feature_info = [{"reduction": 4}, {"reduction": 16}]  # type: ignore[assignment]
    outer.inner = inner
    assert last_grid(outer, 32, 48) == (2, 3)
    assert last_grid(outer, 33, 31) == (3, 2)
    outer.feature_info = [{"reduction": 8}]  # type: ignore[assignment]
    assert last_grid(outer, 33, 31) == (5, 4)


def test_a_network_that_ends_in_no_attention_is_refused() -> None:
    model: Any = timm.create_model("test_resnet", num_classes=5).eval()
    with pytest.raises(
        CaptureError, match="the last attention is none that can be read, not 16×16 over the last grid"
    ):
        last_stage(model, tiny.photos(1, 128, 128), [[1]])
