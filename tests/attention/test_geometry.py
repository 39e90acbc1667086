"""Where a model's patches are, from the few attributes that each family says it with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import tiny
from getam.attention.geometry import Geometry, geometry
from getam.errors import CaptureError, InputError


class Says(nn.Module):
    """A module that has the attributes given, and nothing else."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        for name, value in attributes.items():
            setattr(self, name, value)


def test_tokens_are_prefix_and_patches() -> None:
    assert Geometry(2, (3, 5), "cls").tokens == 17
    assert Geometry(0, (3, 5), "patches").tokens == 15
    assert Geometry(0, (3, 5), "").start is None


OPENCLIP = {"class_embedding": torch.zeros(4), "image_size": 32, "patch_size": 8}


@pytest.mark.parametrize(
    ("attributes", "grid", "rows"),
    [
        ({"class_token": torch.zeros(1, 1, 4), "image_size": 32, "patch_size": 8}, (4, 4), "cls"),
        ({"class_embedding": torch.zeros(4), "image_size": (32, 48), "patch_size": (8, 16)}, (4, 3), "cls"),
        ({"class_embedding": torch.zeros(4), "image_size": (32, 48), "patch_size": (16, 8)}, (2, 6), "cls"),
        ({**OPENCLIP, "pool_type": "avg"}, (4, 4), "patches"),
        ({**OPENCLIP, "pool_type": "none"}, (4, 4), ""),
        ({**OPENCLIP, "attn_pool": nn.Identity()}, (4, 4), "pool"),
        ({**OPENCLIP, "attn_pool": None}, (4, 4), "cls"),
    ],
)  # fmt: skip
def test_models_of_torchvision_and_openclip(
    attributes: dict[str, Any], grid: tuple[int, int], rows: str
) -> None:
    size = attributes["image_size"]
    height, width = size if isinstance(size, tuple) else (size, size)
    model = nn.Sequential(Says(**attributes))  # wherever it is
    assert geometry(model, height, width) == Geometry(1, grid, rows)
    with pytest.raises(
        InputError, match=rf"photos are {height}×{width + 8} but the model takes {height}×{width}"
    ):
        geometry(model, height, width + 8)
    with pytest.raises(InputError, match=rf"photos are {height + 8}×{width} but"):
        geometry(model, height + 8, width)


@pytest.mark.parametrize("missing", ["class_embedding", "image_size", "patch_size"])
def test_half_of_what_openclip_says_is_not_enough(missing: str) -> None:
    attributes = dict(OPENCLIP)
    del attributes[missing]
    with pytest.raises(CaptureError, match="Says has no patch_embed with a known grid"):
        geometry(Says(**attributes), 32, 32)


def test_a_model_that_says_its_patch_only() -> None:
    model = Says(get_patch_size=lambda: (8, 16), global_pool="avg")
    assert geometry(model, 24, 48) == Geometry(0, (3, 3), "patches")
    for height, width in ((20, 48), (24, 40)):
        with pytest.raises(
            InputError, match=rf"photos are {height}×{width} but the model's patches are 8×16"
        ):
            geometry(model, height, width)
    assert geometry(Says(get_patch_size=lambda: (8, 8), global_pool="token"), 8, 16).rows == "patches"
    assert geometry(Says(get_patch_size=lambda: (8, 8), global_pool="map"), 8, 16).rows == "pool"


def shrinking(**more: Any) -> Says:
    """As PiT: two class tokens over the last grid, at a sixteenth."""
    info = [{"reduction": 8}, {"reduction": 16}]
    return Says(
        **{
            "cls_token": nn.Parameter(torch.zeros(1, 2, 4)),
            "feature_info": info,
            "global_pool": "token",
            "patch_embed": nn.Identity(),
        }
        | more
    )


def test_a_class_token_over_a_shrinking_grid() -> None:
    assert geometry(shrinking(), 32, 64) == Geometry(2, (2, 4), "cls")
    assert geometry(shrinking(), 33, 49) == Geometry(2, (3, 4), "cls")
    assert geometry(shrinking(global_pool="avg"), 32, 32).rows == "patches"
    fixed = shrinking(patch_embed=Says(img_size=(32, 64)))
    assert geometry(fixed, 32, 64).grid == (2, 4)
    with pytest.raises(InputError, match="photos are 64×32 but the model takes 32×64"):
        geometry(fixed, 64, 32)
    for nothing in ({"cls_token": None}, {"feature_info": None}):
        with pytest.raises(CaptureError, match="no patch_embed"):
            geometry(shrinking(**nothing), 32, 32)


class Embed(nn.Module):
    """As timm's patch embeddings."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        for name, value in attributes.items():
            setattr(self, name, value)

    def dynamic_feat_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return -(-size[0] // 8), -(-size[1] // 4)

    def feat_ratio(self, as_scalar: bool = True) -> Any:
        return 8 if as_scalar else (8, 4)


def test_timms_models_by_their_embedding_and_what_is_around_it() -> None:
    around = Says(num_prefix_tokens=3, global_pool="token")
    around.inner = Says(num_prefix_tokens=1, global_pool="avg", embed=Embed())
    assert geometry(around, 16, 12) == Geometry(3, (2, 3), "cls")  # the outermost answer counts
    inner = Says(global_pool=nn.Identity(), inner=around.inner)
    assert geometry(inner, 16, 12) == Geometry(1, (2, 3), "patches")
    assert geometry(nn.Sequential(Embed()), 16, 12) == Geometry(0, (2, 3), "")
    assert geometry(Says(global_pool="token", embed=Embed()), 16, 12).rows == "patches"  # there is no token
    for height, width in ((15, 12), (16, 10)):
        with pytest.raises(InputError, match=rf"photos are {height}×{width} but the model's patches are 8×4"):
            geometry(around, height, width)


def test_timms_models_that_pad_or_take_one_size() -> None:
    padding = Says(embed=Embed(dynamic_img_pad=True, strict_img_size=True, img_size=(16, 16)))
    assert geometry(padding, 15, 10).grid == (2, 3)
    strict = Says(embed=Embed(strict_img_size=True, img_size=(16, 12)))
    assert geometry(strict, 16, 12).grid == (2, 3)
    with pytest.raises(
        InputError, match=r"photos are 24×12 but the model takes 16×12.*dynamic_img_size=True"
    ):
        geometry(strict, 24, 12)
    assert geometry(Says(embed=Embed(strict_img_size=True, img_size=None)), 24, 12).grid == (3, 3)
    assert geometry(Says(embed=Embed(strict_img_size=False, img_size=(16, 12))), 24, 12).grid == (3, 3)
    assert geometry(Says(embed=Embed(img_size=(16, 12))), 24, 12).grid == (3, 3)


def test_a_network_of_ours_answers_for_itself() -> None:
    own = Says(geometry=lambda height, width: SimpleNamespace(asked=(height, width)), embed=Embed())
    assert geometry(own, 7, 9).asked == (7, 9)
    assert geometry(tiny.hybrid_segmenter(), 24, 40) == Geometry(1, (3, 5), "cls", 0)


@pytest.mark.parametrize(
    ("pool", "rows"),
    [("token", "cls"), ("tok", "cls"), ("map", "pool"), ("avg", "patches"), ("avgmax", "patches"), ("max", "patches"),
     ("", ""), ("clip", "")],
)  # fmt: skip
def test_the_row_that_reads_the_score(pool: str, rows: str) -> None:
    assert geometry(Says(num_prefix_tokens=1, global_pool=pool, embed=Embed()), 8, 4).rows == rows
