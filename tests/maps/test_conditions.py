"""getam() as models come: compiled, checkpointed, in half precision, channels last, on photos of odd sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import families
import tiny
from getam.attention.capture import capture, frozen
from getam.attention.geometry import geometry
from getam.errors import CaptureError
from getam.maps.methods.getam import attribute, getam
from getam.maps.registry import find_method
from matrices import by_definition, every_matrix


def whole(model: Any) -> Any:
    return torch.compile(model, backend="eager")


def in_place(model: Any) -> Any:
    model.compile(backend="eager")
    return model


def one_block(model: Any) -> Any:
    model.blocks[2] = torch.compile(model.blocks[2], backend="eager")
    return model


@pytest.mark.parametrize("compile_it", [whole, in_place, one_block])
def test_a_compiled_model_gives_the_same_maps(compile_it: Callable[[Any], Any]) -> None:
    images = tiny.photos(2)
    wanted = getam(tiny.vit(), images, [[1], [2]])
    model = compile_it(tiny.vit())
    with torch.no_grad():
        scores = model(images)  # compiled now, not only marked
    found = getam(model, images, [[1], [2]])
    torch.testing.assert_close(found.values, wanted.values)
    assert found.rows == "cls"
    with torch.no_grad():
        torch.testing.assert_close(model(images), scores)


@pytest.mark.parametrize("name", ["plain", "averaged", "segmenter, plain"])
@pytest.mark.parametrize("train", [False, True])
def test_activation_checkpoints_change_nothing(name: str, train: bool) -> None:
    model = tiny.MODELS[name]()
    images = tiny.photos(2, model=model)
    wanted = getam(model, images, [[1], [2]])
    trunk = model.encoder.model if name.startswith("segmenter") else model
    trunk.set_grad_checkpointing()
    found = getam(model.train(train), images, [[1], [2]])
    assert trunk.grad_checkpointing
    torch.testing.assert_close(found.values, wanted.values)


def test_a_checkpointed_training_step_sees_every_attention_once() -> None:
    model, images = tiny.vit(), tiny.photos(1)
    slots, place = torch.tensor([[1]]), geometry(model, 32, 32)
    wanted = getam(model, images, [[1]]).values
    model.set_grad_checkpointing()
    with capture(model.train()) as tap:
        scores = model(images)
    maps = attribute(tap, scores, slots, place)
    scores.sum().backward()
    assert len(tap.calls) == 4
    torch.testing.assert_close(maps, wanted)
    assert model.patch_embed.proj.weight.grad.any()


def test_a_reentrant_checkpoint_is_refused() -> None:
    class Reentrant(nn.Module):
        def __init__(self, block: nn.Module) -> None:
            super().__init__()
            self.block = block

        def forward(self, tokens: Tensor) -> Tensor:
            return checkpoint(self.block, tokens, use_reentrant=True)

    model = tiny.vit()
    model.blocks[3] = Reentrant(model.blocks[3])
    with capture(model) as tap:
        scores = model(tiny.photos(1))
    with pytest.raises(CaptureError, match=r"no graph in blocks\.3\.block\.attn.*use_reentrant=False"):
        attribute(tap, scores, torch.tensor([[1]]), geometry(model, 32, 32))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["plain", "averaged", "relative position bias, token"])
def test_half_precision_is_close_and_multiplied_in_float32(name: str, dtype: torch.dtype) -> None:
    model, images = tiny.MODELS[name](), tiny.photos(1)
    exact = getam(model, images, [[1]]).values
    with torch.autocast("cpu", dtype):
        rough = getam(model, images, [[1]]).values
    lowered = getam(model.to(dtype), images.to(dtype), [[1]]).values
    for values in (rough, lowered):
        assert values.dtype == torch.float32
        assert torch.corrcoef(torch.stack([values.flatten(), exact.flatten()]))[0, 1] > 0.97
        wide = values.flatten().to(dtype).float()
        assert not torch.equal(wide, values.flatten()), (
            "a product in half precision would survive the round trip"
        )


def test_channels_last_photos_and_models() -> None:
    model, images = tiny.hybrid_vit(), tiny.photos(2)
    wanted = getam(model, images, [[1], [2]]).values
    found = getam(
        model.to(memory_format=torch.channels_last),
        images.contiguous(memory_format=torch.channels_last),
        [[1], [2]],
    )
    torch.testing.assert_close(found.values, wanted, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(("height", "width", "grid"), [(33, 24, (5, 3)), (24, 40, (3, 5)), (9, 70, (2, 9))])
def test_padded_and_oblong_photos(height: int, width: int, grid: tuple[int, int]) -> None:
    model = tiny.vit(dynamic_img_size=True, dynamic_img_pad=True)
    images = tiny.photos(1, height, width)
    maps = getam(model, images, [[2]])
    assert maps.grid == grid
    A, G = every_matrix(model, images, 2, pool=False)
    wanted = by_definition(A, G, "cls", 1, grid)
    assert wanted.max() > 0
    torch.testing.assert_close(maps.values[0, 0], wanted, rtol=1e-3, atol=1e-6 * float(wanted.max()))


def test_an_oblong_photo_through_the_naflex_grid() -> None:
    (family,) = (f for f in families.WORKS if f.name == "NaFlexViT")
    model = tiny.awake(family.make())
    assert getam(model, tiny.photos(1, 24, 40), [[2]]).values.shape == (1, 1, 3, 5)


def test_checkpoint_flags_come_back_after_an_error() -> None:
    model = tiny.vit()
    model.set_grad_checkpointing()
    with pytest.raises(KeyError), frozen(model):
        raise KeyError
    assert model.grad_checkpointing


@pytest.mark.parametrize("compile_it", [whole, in_place])
@pytest.mark.parametrize("method", ["gradcam", "layercam", "is-cam"])
def test_cams_of_a_compiled_model_are_the_same(compile_it: Callable[[Any], Any], method: str) -> None:
    """A compiled graph has no modules to listen to."""
    images = tiny.photos(2)
    wanted = find_method(method).make(tiny.vit(), images, [[1], [2]])
    model = compile_it(tiny.vit())
    with torch.no_grad():
        model(images)
    torch.testing.assert_close(find_method(method).make(model, images, [[1], [2]]).values, wanted.values)


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e3])
@pytest.mark.parametrize("name", ["plain", "averaged"])
def test_gradients_that_float16_cannot_hold_are_scaled(name: str, factor: float) -> None:
    """The maps are homogeneous: of a score times c they are c² times as much, also where c is lost in float16."""
    model, images = tiny.MODELS[name](), tiny.photos(1)
    with torch.enable_grad(), torch.autocast("cpu", torch.float16), capture(model) as tap:
        scores = model(images)
    place, slots = geometry(model, 32, 32), torch.tensor([[1]])
    exact = getam(model, images, [[1]]).values
    found = attribute(tap, scores.float() * factor, slots, place) / factor**2
    assert tap.calls[-1].output.dtype == torch.float16
    assert float((found - exact).abs().max()) < 0.02 * float(exact.max())
