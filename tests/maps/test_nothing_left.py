"""What a call leaves behind: nothing. And what it may not depend on: the company a photo or class is in."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import families
import tiny
from getam.errors import GetamError
from getam.maps.methods.getam import differentiable_maps, getam
from getam.maps.registry import REGISTRY

METHODS = {
    m.name: m.make for m in REGISTRY.values() if m.name not in ("last-stage", "cam", "bas")
}  # other models' maps
SCARCE = tiny.vit(depth=2, embed_dim=12)


@given(st.lists(st.lists(st.integers(0, 4), max_size=4), min_size=1, max_size=3))
@settings(max_examples=25, deadline=None)
def test_a_slot_depends_on_its_photo_and_class_alone(classes: list[list[int]]) -> None:
    images = tiny.photos(3)[: len(classes)]
    maps = getam(SCARCE, images, classes)
    assert maps.values.shape[:2] == (len(classes), max(len(row) for row in classes))
    for photo, row in enumerate(classes):
        for slot, c in enumerate(row):
            alone = getam(SCARCE, images[photo : photo + 1], [[c]])
            torch.testing.assert_close(maps.values[photo, slot], alone.values[0, 0], rtol=1e-3, atol=1e-9)
        assert not maps.values[photo, len(row) :].any()


def everything_about(model: nn.Module) -> Any:
    """Names, identities and contents of all that a model holds, its modules' attributes and hooks included."""
    plain = (bool, int, float, str, type(None))
    return [
        (
            name,
            type(module),
            {key: value for key, value in vars(module).items() if isinstance(value, plain)},
            {key: len(value) for key, value in vars(module).items() if key.endswith("_hooks")},
            [(id(p), p.requires_grad, p.grad is None, p._version) for p in module.parameters(recurse=False)],
            [(id(b), b.clone().tolist()) for b in module.buffers(recurse=False)],
        )
        for name, module in model.named_modules()
    ]


def breaks_in_the_head(model: Any) -> Any:
    return model.head.register_forward_pre_hook(lambda *_: 1 / 0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["CaiT", "TNT", "SigLIP, SigLIP 2", "hybrid, ResNet-26"])
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(method: str, name: str, fails: bool) -> None:
    (family,) = (f for f in families.WORKS if f.name == name)
    model: Any = tiny.awake(family.make()).train()
    next(model.parameters()).requires_grad_(False)
    model.set_grad_checkpointing()
    for module in list(model.modules())[::2]:
        module.training = False
    hook = breaks_in_the_head(model) if fails else None
    before = everything_about(model)
    try:
        METHODS[method](model, tiny.photos(2, family.side, family.side), [[1], [2]])
    except ZeroDivisionError:
        assert fails
    except GetamError:
        assert name in ("CaiT", "TNT")  # the others have nothing to read there, and say so
        assert method != "getam"
    assert everything_about(model) == before
    assert torch.is_grad_enabled()
    if hook is not None:
        hook.remove()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fails", [False, True])
def test_no_tensor_of_the_forward_outlives_the_call(method: str, fails: bool) -> None:
    model, seen = tiny.vit(), list[Any]()
    handles = [
        block.register_forward_hook(lambda _m, _i, out: seen.append(weakref.ref(out)))
        for block in model.blocks
    ]
    classes = [[99]] if fails else [[1]]
    try:
        METHODS[method](model, tiny.photos(1), classes)
    except GetamError:
        assert fails
    for handle in handles:
        handle.remove()
    gc.collect()
    assert len(seen) in (4, 8)  # is-cam takes two forwards
    assert not any(ref() is not None for ref in seen)


@pytest.mark.parametrize("method", METHODS)
def test_a_frozen_model_under_no_grad_is_fine(method: str) -> None:
    model, images = tiny.vit(), tiny.photos(2)
    before = METHODS[method](model, images, [[1], [2, 3]]).values
    model.requires_grad_(False)
    with torch.no_grad():
        torch.testing.assert_close(METHODS[method](model, images, [[1], [2, 3]]).values, before)


def live_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


def test_200_calls_leave_no_tensor() -> None:
    model, images = tiny.vit(depth=1, embed_dim=6, img_size=16), tiny.photos(1, 16, 16)
    getam(model, images, [[1]])
    before = live_tensors()
    for _ in range(200):
        getam(model, images, [[1]])
    assert live_tensors() <= before


# Second order, on request


def flat_parameters(model: nn.Module) -> list[Tensor]:
    return [p for name, p in model.named_parameters() if "qkv.weight" in name or "head.weight" in name]


@pytest.mark.parametrize("options", [{}, {"global_pool": "avg"}, {"qk_norm": True, "coupling": "attn_grad"}])
def test_second_order_gradients_are_those_of_finite_differences(options: dict[str, Any]) -> None:
    options = dict(options)
    coupling = options.pop("coupling", "attn_grad2")
    model = tiny.vit(depth=2, embed_dim=6, num_heads=1, img_size=16, num_classes=2, **options).double()
    images = tiny.photos(1, 16, 16).double().requires_grad_()
    weights = flat_parameters(model)

    def maps(photos: Tensor, *_: Tensor) -> Tensor:
        return differentiable_maps(model, photos, [[1]], coupling=coupling, start=0)

    assert maps(images).max() > 0
    assert torch.autograd.gradcheck(maps, (images, *weights), fast_mode=True)


def test_differentiable_maps_are_the_maps() -> None:
    for name in ("plain", "averaged", "rotary"):
        model, images = tiny.MODELS[name](), tiny.photos(2)
        maps = differentiable_maps(model, images, [[1, 3], [2]])
        wanted = getam(model, images, [[1, 3], [2]]).values
        torch.testing.assert_close(maps, wanted, rtol=1e-3, atol=1e-6 * float(wanted.max()))
        assert maps.requires_grad
        assert not maps[1, 1].any()


def test_a_loss_on_the_maps_trains_the_model() -> None:
    model, images = tiny.vit(), tiny.photos(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    target = torch.zeros(4, 4)
    target[:2] = 1

    def inside() -> Tensor:
        maps = differentiable_maps(model, images, [[2]])[0, 0]
        return (maps * target).sum() / maps.sum()

    before = inside().item()
    for _ in range(5):
        optimizer.zero_grad()
        (-inside()).backward()
        optimizer.step()
    assert inside().item() > before


def test_what_cannot_be_differentiated_is_said() -> None:
    model = tiny.vit().requires_grad_(False)
    with pytest.raises(GetamError, match="neither the photos nor any parameter requires gradients"):
        differentiable_maps(model, tiny.photos(1), [[1]])
    assert differentiable_maps(model, tiny.photos(1).requires_grad_(), [[1]]).requires_grad
    with pytest.raises(GetamError, match="coupling 'no'"):
        differentiable_maps(tiny.vit(), tiny.photos(1), [[1]], coupling="no")
    assert differentiable_maps(tiny.vit(), tiny.photos(2), [[], []]).shape == (2, 0, 4, 4)
