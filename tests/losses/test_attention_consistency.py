"""L_act and L_aff against loops over pairs of patches, their gradients against finite differences, and their memory."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from timm.models.beit import Beit
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor

import tiny
from getam.attention.capture import Geometry, MatrixCall, capture, geometry, global_calls
from getam.losses import attention_consistency
from getam.losses.attention_consistency import consistency_losses, mirrored

GRIDS = [(4, 4), (3, 5), (5, 2), (3, 1), (1, 4)]


def mirror(patch: int, width: int) -> int:
    """The patch in the same row of the grid, as far from its right end as this one from its left."""
    return patch // width * width + width - 1 - patch % width


def by_loops(matrices: list[Tensor], place: Geometry) -> tuple[Tensor, Tensor]:
    """Both losses of matrices (2B,H,N,N), one block each, by their definition."""
    patches, width, prefix = place.grid[0] * place.grid[1], place.grid[1], place.prefix
    act, aff = [], []
    for matrix in matrices:
        mean = matrix.mean(1)
        for photo in range(len(mean) // 2):
            one, other = mean[photo], mean[photo + len(mean) // 2]
            for j in range(patches):
                column, its = prefix + j, prefix + mirror(j, width)
                act.append((one[0, column] - other[0, its]).abs())
                for i in range(patches):
                    row = prefix + mirror(i, width)
                    aff.append((one[prefix + i, column] - other[row, its]).abs())
    return torch.stack(act).mean(), torch.stack(aff).mean()


def matrices(
    place: Geometry, blocks: int = 2, photos: int = 2, heads: int = 3, **options: Any
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (2 * photos, heads, place.tokens, place.tokens)
    return [(3 * torch.randn(shape, generator=generator, **options)).softmax(-1) for _ in range(blocks)]


def losses(matrices: list[Tensor], place: Geometry) -> tuple[Tensor, Tensor]:
    return consistency_losses([MatrixCall(f"block {n}", m) for n, m in enumerate(matrices)], place)


@pytest.mark.parametrize("prefix", [1, 2])
@pytest.mark.parametrize("grid", GRIDS)
def test_they_are_means_over_blocks_photos_and_patches(grid: tuple[int, int], prefix: int) -> None:
    place = Geometry(prefix, grid, "cls")
    given = matrices(place)
    torch.testing.assert_close(losses(given, place), by_loops(given, place))


@pytest.mark.parametrize("grid", GRIDS)
def test_the_mirror_is_a_permutation_and_its_own_inverse(grid: tuple[int, int]) -> None:
    count = grid[0] * grid[1]
    pi = torch.zeros(count, count)
    for patch in range(count):
        pi[patch, mirror(patch, grid[1])] = 1
    attention = torch.rand(2, count, count)
    torch.testing.assert_close(mirrored(attention, grid), pi @ attention @ pi.T)
    assert torch.equal(mirrored(mirrored(attention, grid), grid), attention)
    torch.testing.assert_close(mirrored(attention[:, :1], grid), attention[:, :1] @ pi.T)


@pytest.mark.parametrize("grid", GRIDS)
def test_attention_that_is_mirrored_costs_nothing(grid: tuple[int, int]) -> None:
    place = Geometry(2, grid, "cls")
    order = [0, 1, *(2 + mirror(patch, grid[1]) for patch in range(grid[0] * grid[1]))]
    given = [torch.cat((m[:2], m[:2][:, :, order][..., order])) for m in matrices(place)]
    assert losses(given, place) == (0, 0)


def test_the_views_may_change_places() -> None:
    place = Geometry(1, (3, 4), "cls")
    given = matrices(place)
    torch.testing.assert_close(losses([m.roll(2, 0) for m in given], place), losses(given, place))


def test_neither_looks_at_the_other_tokens() -> None:
    """The columns of class token and registers, and the rows of registers, are in neither loss."""
    place = Geometry(2, (2, 3), "cls")
    given = matrices(place)
    other = [m.clone() for m in given]
    for m in other:
        m[..., :2], m[:, :, 1] = 7, 7
    assert losses(other, place) == losses(given, place)


KINDS: dict[str, Any] = {
    "plain": tiny.vit,
    "distilled": partial(tiny.vit, VisionTransformerDistilled),
    "position bias": partial(tiny.vit, Beit, use_rel_pos_bias=True, global_pool="token"),
    "registers": partial(tiny.vit, reg_tokens=4, no_embed_class=True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_network_in_strips_with_gradients_for_all_of_it(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parameters learn what they would from whole matrices, whatever the strips."""
    model = KINDS[kind]()
    images = tiny.photos(2)
    place = geometry(model, 32, 32)
    with capture(model) as tap:
        model(torch.cat((images, images.flip(-1))))
    calls = global_calls(tap, place)
    assert len(calls) == 4
    whole = by_loops([call.attention(slice(None)) for call in calls], place)
    weights = [p for p in model.parameters() if p.requires_grad]

    def slopes(found: tuple[Tensor, Tensor]) -> list[Tensor | None]:
        return list(
            torch.autograd.grad(found[0] + 2 * found[1], weights, retain_graph=True, allow_unused=True)
        )

    expected = slopes(whole)
    for strip in (1, 2 * 4 * 3 * 4 * place.tokens * 4, 1 << 30):  # one row of the grid, two, all of it
        monkeypatch.setattr(attention_consistency, "STRIP_BYTES", strip)
        found = consistency_losses(calls, place)
        torch.testing.assert_close(found, whole)
        torch.testing.assert_close(slopes(found), expected, rtol=1e-4, atol=1e-6)


def test_no_matrix_is_kept_for_the_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_consistency, "STRIP_BYTES", 1)
    model = tiny.vit(img_size=64)
    images = tiny.photos(1, 64, 64)
    with capture(model) as tap:
        model(torch.cat((images, images.flip(-1))))
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    place = geometry(model, 64, 64)
    calls = global_calls(tap, place)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        act, aff = consistency_losses(calls, place)
        assert max(kept, default=0) <= len(calls) * place.grid[0]  # scalars, one a strip
    (slope,) = torch.autograd.grad(act + aff, [model.blocks[0].attn.qkv.weight])
    assert slope.abs().sum() > 0


def test_gradient() -> None:
    place = Geometry(1, (2, 3), "cls")
    given = [m.requires_grad_() for m in matrices(place, photos=1, heads=2, dtype=torch.float64)]
    assert torch.autograd.gradcheck(lambda *m: losses(list(m), place), given)


def test_half_precision_stays_out_of_differences() -> None:
    """Values are of the order 1/N, and differences smaller: bfloat16 would leave two digits of them."""
    model, images = tiny.vit(), tiny.photos(2)
    place = geometry(model, 32, 32)
    with torch.no_grad(), capture(model) as tap:
        model(torch.cat((images, images.flip(-1))))
    calls = global_calls(tap, place)
    expected = consistency_losses(calls, place)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = consistency_losses(calls, place)
    assert found == expected
    assert found[0].dtype == torch.float32
