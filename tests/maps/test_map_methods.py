"""The table of methods, and the named CAMs as cases of one formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import tiny
from getam.errors import InputError
from getam.maps.methods.acr import acr
from getam.maps.methods.ad_cam import ad_cam
from getam.maps.methods.getam import getam
from getam.maps.methods.multi_layer import multi_layer_cam
from getam.maps.registry import REGISTRY, check_options, find_method

# name: what it reads, whether it takes gradients, whether classes differ, whether its minimum goes before a threshold
TABLE = {
    "getam": ("transformer with global attention", True, True, False),
    "acr": ("transformer with global attention", True, True, True),
    "ad-cam": ("transformer with global attention", True, True, True),
    "legrad": ("timm vision transformer", True, True, True),
    "rollout": ("transformer with global attention", False, False, False),
    "gradient-rollout": ("transformer with global attention", True, True, False),
    "last-stage": ("transformer whose grid shrinks", True, True, False),
    "cam": ("classifier that averages its features", True, True, False),
    "gradcam": ("CNN or transformer", True, True, False),
    "layercam": ("CNN or transformer", True, True, False),
    "zoom-cam": ("CNN or transformer", True, True, False),
    "um-cam": ("CNN or transformer", True, True, False),
    "multi-layer": ("CNN or transformer", True, True, False),
    "is-cam": ("CNN or transformer", True, True, False),
    "bas": ("network of the recipe bas", False, True, False),
}


def test_the_table() -> None:
    found = {m.name: (m.model, m.gradients, m.per_class, m.from_zero) for m in REGISTRY.values()}
    assert found == TABLE
    assert {name: m.name for name, m in REGISTRY.items()} == {name: name for name in TABLE}
    reading = {name for name, m in REGISTRY.items() if m.attention}
    assert reading == {"getam", "acr", "ad-cam", "legrad", "rollout", "gradient-rollout", "last-stage"}


def test_the_functions_are_named_as_the_methods() -> None:
    named = {name: m.make.__name__ for name, m in REGISTRY.items()}
    assert named == {name: name.replace("-", "_") for name in TABLE} | {"multi-layer": "multi_layer_cam"}


def test_the_options_of_a_method() -> None:
    assert find_method("getam").options == ["coupling", "start", "rows"]
    assert find_method("acr").options == find_method("ad-cam").options == ["coupling", "start", "rows"]
    assert find_method("legrad").options == ["start"]
    assert find_method("multi-layer").options == ["layers", "weighting", "aggregate"]
    assert find_method("rollout").options == find_method("bas").options == []
    check_options(find_method("gradcam"), {"layers": ["a"]})
    with pytest.raises(InputError, match="--weighting is an option of multi-layer, not of gradcam"):
        check_options(find_method("gradcam"), {"layers": ["a"], "weighting": "pooled"})
    with pytest.raises(InputError, match="--colour is an option of no map method, not of getam"):
        check_options(find_method("getam"), {"start": 1, "colour": 3})


CASES = {
    "cam": ("class", "none", ["features.2"]),
    "gradcam": ("pooled", "none", ["features.1"]),
    "layercam": ("positive", "max", ["features.0", "features.1"]),
    "zoom-cam": ("elementwise", "max", ["features.0", "features.1"]),
    "um-cam": ("pooled", "uncertainty", ["features.0", "features.1"]),
    "multi-layer": ("elementwise", "max", ["features.0", "features.1"]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_named_cam_is_its_weighting_and_its_aggregate(name: str) -> None:
    weighting, aggregate, some = CASES[name]
    model, images = tiny.cnn(), tiny.photos(2)
    for layers in (None, some):
        found = find_method(name).make(model, images, [[1, 3], [2]], layers=layers)
        wanted = multi_layer_cam(
            model, images, [[1, 3], [2]], layers=layers, weighting=weighting, aggregate=aggregate
        )
        assert wanted.values[0].any()
        assert torch.equal(found.values, wanted.values)
        assert torch.equal(found.scores, wanted.scores)
        assert found.classes.tolist() == [[1, 3], [2, -1]]
        assert wanted.method == f"cam[{weighting}, {aggregate}]"
        assert found.method == (wanted.method if name == "multi-layer" else name)
    elsewhere = find_method(name).make(model, images, [[1, 3], [2]], layers=["features.2"])
    assert name == "cam" or not torch.equal(elsewhere.values, found.values)


@pytest.mark.parametrize(("name", "made"), [("acr", acr), ("ad-cam", ad_cam)])
def test_rows_start_and_coupling_reach_the_map_that_is_spread(name: str, made: Any) -> None:
    model, images = tiny.vit(), tiny.photos(1)
    default = made(model, images, [[1]])
    assert default.method == ("acr[grad]" if name == "acr" else "ad-cam[attn_grad2]")
    assert default.rows == "cls"
    assert default.grid == (4, 4)
    for options in ({"rows": "patches"}, {"start": 1}, {"coupling": "attn_grad"}):
        found = made(model, images, [[1]], **options)
        assert not torch.allclose(found.values, default.values)
        assert found.rows == options.get("rows", "cls")
        if name == "ad-cam":  # diffusion keeps the sum
            raw = getam(model, images, [[1]], **options)
            torch.testing.assert_close(found.values.sum(), raw.values.sum())


def test_acr_reads_the_last_two_blocks_of_any_number() -> None:
    for depth in (1, 2, 3, 5):
        model, images = tiny.vit(depth=depth), tiny.photos(1)
        wanted = acr(model, images, [[1]], start=max(0, depth - 2))
        assert torch.equal(acr(model, images, [[1]]).values, wanted.values)


def test_acr_of_a_pooled_model_reads_the_pooling() -> None:
    model, images = tiny.vit(global_pool="map", class_token=False), tiny.photos(1)
    maps = acr(model, images, [[1]])
    assert maps.rows == "pool"
    assert maps.values.any()


def test_the_names_say_the_options() -> None:
    model, images = tiny.vit(), tiny.photos(1)
    for coupling in ("grad", "grad2", "attn_grad", "attn_grad2"):
        assert getam(model, images, [[1]], coupling=coupling).method == f"getam[{coupling}]"
    assert getam(model, images, [[1]]).method == "getam[attn_grad2]"
    for name in ("legrad", "rollout", "gradient-rollout", "is-cam"):
        assert find_method(name).make(model, images, [[1]]).method == name
