"""getam() against the definition: the N×N attention matrices and their class gradients, materialised, in loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

import tiny
from getam.attention.capture import geometry
from getam.errors import CaptureError, InputError
from getam.maps.methods.getam import COUPLINGS, getam
from getam.maps.scores import class_scores
from getam.nets.segmenter import Segmenter
from shared_material import golden


def matrices(model: nn.Module, image: Tensor, c: int) -> tuple[list[Tensor], list[Tensor]]:
    """A and G = ∂s_c/∂A, (H,N,N) of every block, for one photo (1,3,H,W), with fused attention off."""
    kept: list[Tensor] = []
    attentions = [m for m in model.modules() if hasattr(m, "fused_attn") and hasattr(m, "attn_drop")]
    hooks = [m.attn_drop.register_forward_hook(lambda _m, _i, out: kept.append(out)) for m in attentions]
    for attention in attentions:
        attention.fused_attn = False
    try:
        scores = model(image).scores if isinstance(model, Segmenter) else model(image)
        gradients = torch.autograd.grad(scores[0, c], kept, allow_unused=True)
    finally:
        for attention, hook in zip(attentions, hooks):
            attention.fused_attn = True
            hook.remove()
    gradients = [torch.zeros_like(A) if G is None else G for A, G in zip(kept, gradients)]
    return [A[0].detach() for A in kept], [G[0].detach() for G in gradients]


def couple(A: Tensor, G: Tensor, coupling: str) -> Tensor:
    """(H,N,N) twice → (N,N): section 1 of the paper's method, head by head."""
    heads = range(len(A))
    gradient = sum(G[h].clamp(min=0) for h in heads) / len(A)
    weighted = sum((G[h] * A[h]).clamp(min=0) for h in heads) / len(A)
    return {
        "grad": gradient,
        "grad2": gradient * gradient,
        "attn_grad": weighted,
        "attn_grad2": weighted * gradient,
    }[coupling]


def by_definition(
    A: list[Tensor], G: list[Tensor], coupling: str, start: int, rows: str, prefix: int, grid: tuple[int, int]
) -> Tensor:
    """M summed over blocks, read at the query row(s): (h,w)."""
    total = torch.zeros_like(A[0][0])
    for block in range(start, len(A)):
        total = total + couple(A[block], G[block], coupling)
    total = total.clamp(min=0)
    row = total[0] if rows == "cls" else total[prefix:].mean(0)
    return row[prefix:].reshape(grid)


def assert_same(found: Tensor, wanted: Tensor) -> None:
    assert wanted.max() > 0
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6 * float(wanted.max()))


@pytest.mark.parametrize("name", tiny.MODELS)
def test_equals_the_materialised_matrices(name: str) -> None:
    model = tiny.MODELS[name]()
    side = 42 if name == "patch 14" else 32
    images = tiny.photos(2, side, side, model)
    place = geometry(model, side, side)
    depth = 3 if name == "odd depth" else 4
    references = {(b, c): matrices(model, images[b : b + 1], c) for b, c in ((0, 2), (0, 0), (1, 1))}
    for start in (None, 0, depth - 1):
        for coupling in COUPLINGS:
            maps = getam(model, images, [[2, 0], [1]], coupling=coupling, start=start)
            default = 0 if name == "segmenter, hybrid" else depth // 2  # light hybrids read every block
            first = default if start is None else start
            for (b, c), k in zip(references, (0, 1, 0)):
                A, G = references[b, c]
                assert len(A) == depth
                wanted = by_definition(A, G, coupling, first, place.rows, place.prefix, place.grid)
                assert_same(maps.values[b, k], wanted)
            assert not maps.values[1, 1].any()
    assert maps.rows == ("patches" if "averaged" in name else "cls")
    assert maps.grid == place.grid
    assert maps.values.dtype == torch.float32


def test_an_oblong_photo_keeps_its_grid() -> None:
    model = tiny.vit(dynamic_img_size=True)
    images = tiny.photos(1, 24, 40)
    maps = getam(model, images, [[3]])
    assert maps.grid == (3, 5)
    assert_same(
        maps.values[0, 0], by_definition(*matrices(model, images, 3), "attn_grad2", 2, "cls", 1, (3, 5))
    )


def test_an_oblong_photo_through_a_segmenter() -> None:
    model = tiny.hybrid_segmenter()
    images = tiny.photos(1, 24, 40, model)
    maps = getam(model, images, [[1]])
    wanted = by_definition(*matrices(model, images, 1), "attn_grad2", 0, "cls", 1, (3, 5))
    assert_same(maps.values[0, 0], wanted)


@pytest.mark.parametrize("depth", [3, 4])
def test_a_pooling_attention_is_read_at_its_own_row(depth: int) -> None:
    model = tiny.vit(depth=depth, class_token=False, global_pool="map")
    images = tiny.photos(1)
    pool = model.attn_pool
    tokens = model.forward_features(images)
    q = pool.q(pool.latent).reshape(1, 1, 3, 8).transpose(1, 2)
    k, v = pool.kv(tokens).reshape(1, 16, 2, 3, 8).permute(2, 0, 3, 1, 4)
    A = (q @ k.transpose(-2, -1) / math.sqrt(8)).softmax(-1)
    x = pool.proj((A @ v).transpose(1, 2).reshape(1, 1, 24))
    x = x + pool.mlp(pool.norm(x))
    scores = model.head(model.fc_norm(x[:, 0]))
    torch.testing.assert_close(scores, model(images))
    (G,) = torch.autograd.grad(scores[0, 4], A)
    wanted = couple(A[0].detach(), G[0], "attn_grad2").reshape(4, 4)

    maps = getam(model, images, [[4]])
    assert maps.rows == "pool"
    assert_same(maps.values[0, 0], wanted)


def test_the_pooling_attention_does_not_count_as_a_block() -> None:
    model = tiny.vit(depth=3, class_token=False, global_pool="map")
    images = tiny.photos(1)
    wanted = by_definition(*matrices(model, images, 4), "attn_grad2", 1, "patches", 0, (4, 4))
    assert_same(getam(model, images, [[4]], rows="patches").values[0, 0], wanted)


def test_patch_rows_in_strips_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = tiny.vit(global_pool="avg"), tiny.photos(2)
    whole = getam(model, images, [[1], [2]]).values
    monkeypatch.setattr("getam.maps.methods.getam.ROW_CHUNK_BYTES", 1)
    torch.testing.assert_close(getam(model, images, [[1], [2]]).values, whole, rtol=1e-5, atol=0)


@pytest.mark.parametrize("start", [0, 6, 10])
def test_golden_maps(start: int) -> None:
    stored = golden("getam_map")
    attention, gradient = (torch.from_numpy(stored[key]) for key in ("attention", "gradient"))
    total = sum(COUPLINGS["attn_grad2"](A, G) for A, G in zip(attention[start:], gradient[start:]))
    np.testing.assert_allclose(total.relu()[:, 0, 1:].numpy(), stored[f"map_start{start}"], rtol=1e-5)


# Slots


def test_a_batch_is_its_photos_one_at_a_time() -> None:
    model, images = tiny.hybrid_segmenter(), tiny.photos(3, model=tiny.hybrid_segmenter())
    together = getam(model, images, [[0], [1, 2], []])
    for b, classes in enumerate([[0], [1, 2]]):
        alone = getam(model, images[b : b + 1], [classes])
        torch.testing.assert_close(together.values[b, : len(classes)], alone.values[0], rtol=1e-4, atol=1e-9)
        torch.testing.assert_close(together.scores[b, : len(classes)], alone.scores[0])
    assert not together.values[2].any()


def test_order_and_repetition_of_classes_are_the_callers() -> None:
    model, images = tiny.vit(), tiny.photos(1)
    maps = getam(model, images, [[3, 1, 3]])
    single = getam(model, images, [[1]])
    assert maps.classes.tolist() == [[3, 1, 3]]
    torch.testing.assert_close(maps.values[0, 0], maps.values[0, 2], rtol=0, atol=0)
    torch.testing.assert_close(maps.values[0, 1], single.values[0, 0])
    torch.testing.assert_close(maps.scores, model(images)[:, [3, 1, 3]])


def test_tags_are_lists_in_ascending_order() -> None:
    model, images = tiny.vit(), tiny.photos(2)
    from_tags = getam(model, images, torch.tensor([[0, 1, 0, 1, 0], [1, 0, 0, 0, 0]]))
    from_lists = getam(model, images, [[1, 3], [0]])
    assert torch.equal(from_tags.values, from_lists.values)
    assert torch.equal(from_tags.classes, from_lists.classes)
    assert from_tags.valid.tolist() == [[True, True], [True, False]]
    assert from_tags.scores[1, 1] == 0


@pytest.mark.parametrize("nobody", [[[], []], torch.zeros(2, 5)])
def test_no_tag_at_all_gives_no_slot(nobody: Any) -> None:
    maps = getam(tiny.vit(), tiny.photos(2), nobody)
    assert maps.values.shape == (2, 0, 4, 4)
    assert maps.classes.shape == maps.scores.shape == maps.valid.shape == (2, 0)


def test_the_same_call_gives_the_same_bits() -> None:
    model, images = tiny.vit(), tiny.photos(2)
    assert torch.equal(getam(model, images, [[1], [2]]).values, getam(model, images, [[1], [2]]).values)


# The model is left as it was


def state_of(model: nn.Module) -> Any:
    modules = list(model.modules())
    return (
        [m.training for m in modules],
        [getattr(m, "fused_attn", None) for m in modules],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules],
        [(p.requires_grad, p.grad is None) for p in model.parameters()],
        [b.clone().tolist() for b in model.buffers()],
    )


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", ["plain", "hybrid", "segmenter, hybrid", "distilled, 2 prefix tokens"])
def test_the_model_is_left_as_it_was(name: str, train: bool) -> None:
    model = tiny.MODELS[name]().train(train)
    next(model.parameters()).requires_grad_(False)
    next(m for m in model.modules() if hasattr(m, "fused_attn")).fused_attn = False
    before = state_of(model)
    maps = getam(model, tiny.photos(2, model=model), [[1], [2]])
    assert state_of(model) == before
    assert not maps.values.requires_grad
    with pytest.raises(InputError):
        getam(model, tiny.photos(2, model=model), [[1], [99]])
    assert state_of(model) == before
    with pytest.raises(RuntimeError):
        getam(model, tiny.photos(2, model=model)[:, :2], [[1], [2]])
    assert state_of(model) == before


def test_photos_do_not_interact_through_a_batch_norm_in_train_mode() -> None:
    model = tiny.hybrid_segmenter().train()
    images = tiny.photos(2, model=model)
    together = getam(model, images, [[1], [1]])
    torch.testing.assert_close(
        together.values[:1], getam(model, images[:1], [[1]]).values, rtol=1e-4, atol=1e-9
    )


def test_a_frozen_model_gives_the_same_maps() -> None:
    model, images = tiny.vit(), tiny.photos(1)
    before = getam(model, images, [[1]]).values
    model.requires_grad_(False)
    torch.testing.assert_close(getam(model, images, [[1]]).values, before)
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", ["plain", "averaged", "segmenter, hybrid"])
def test_no_grad_around_it_does_not_matter(name: str) -> None:
    model = tiny.MODELS[name]()
    images = tiny.photos(1, model=model)
    before = getam(model, images, [[1]]).values
    with torch.no_grad():
        assert torch.equal(getam(model, images, [[1]]).values, before)
        assert not torch.is_grad_enabled()


def test_photos_that_require_gradients_get_none() -> None:
    model, images = tiny.vit(), tiny.photos(1).requires_grad_()
    maps = getam(model, images, [[1]])
    assert images.grad is None
    torch.testing.assert_close(maps.values, getam(model, images.detach(), [[1]]).values)


def test_bfloat16_autocast_stays_close() -> None:
    model, images = tiny.vit(), tiny.photos(1)
    exact = getam(model, images, [[1]]).values
    with torch.autocast("cpu", torch.bfloat16):
        rough = getam(model, images, [[1]]).values
    assert rough.dtype == torch.float32
    assert torch.corrcoef(torch.stack([rough.flatten(), exact.flatten()]))[0, 1] > 0.98


def test_the_decoder_is_left_out() -> None:
    model = tiny.hybrid_segmenter()
    ran: list[int] = []
    model.decoder.register_forward_hook(lambda *_: ran.append(1))
    getam(model, tiny.photos(1, model=model), [[1]])
    assert not ran


# One sentence says what is wrong


def test_inference_mode_is_refused() -> None:
    with torch.inference_mode(), pytest.raises(CaptureError, match="inference_mode"):
        getam(tiny.vit(), tiny.photos(1), [[1]])


def test_active_attention_dropout_is_refused() -> None:
    model = tiny.vit(attn_drop_rate=0.1)
    assert getam(model, tiny.photos(1), [[1]]).values.any()
    with pytest.raises(CaptureError, match="attention dropout is active"):
        getam(model.train(), tiny.photos(1), [[1]])


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([[5], [0]], r"class 5 of photo 0 is outside 0\.\.4"),
        ([[0], [-1]], r"class -1 of photo 1 is outside 0\.\.4"),
        ([[0]], "1 class lists were given for 2 photos"),
        ([0, 1], "not one list of class indices per photo"),
        (torch.zeros(2, 4), r"tags are \(2, 4\) but 2 photos × 5 classes"),
    ],
)
def test_bad_classes(classes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        getam(tiny.vit(), tiny.photos(2), classes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coupling": "grad3"}, "coupling 'grad3' is not one of grad, grad2, attn_grad, attn_grad2"),
        ({"start": 4}, r"start=4 is outside 0\.\.3"),
        ({"start": -1}, r"start=-1 is outside 0\.\.3"),
        ({"rows": "dist"}, r"rows='dist' is not one of cls, patches, cls\+patches, pool"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        getam(tiny.vit(), tiny.photos(1), [[1]], **options)


def test_rows_can_be_chosen_where_the_model_has_them() -> None:
    model, images = tiny.vit(), tiny.photos(1)
    wanted = by_definition(*matrices(model, images, 1), "attn_grad2", 2, "patches", 1, (4, 4))
    maps = getam(model, images, [[1]], rows="patches")
    assert maps.rows == "patches"
    assert_same(maps.values[0, 0], wanted)
    with pytest.raises(InputError, match="without prefix tokens"):
        getam(tiny.vit(class_token=False, global_pool="avg"), images, [[1]], rows="cls")
    with pytest.raises(CaptureError, match="no pooling attention"):
        getam(model, images, [[1]], rows="pool")


@pytest.mark.parametrize("side", [32, 64])
def test_windowed_attention_is_never_called_getam(side: int) -> None:
    swin = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=side, window_size=8 if side == 32 else 4, embed_dim=12,
        depths=(2, 2), num_heads=(1, 2), num_classes=5,
    ).eval()  # fmt: skip
    with pytest.raises(CaptureError, match="global attention"):
        getam(swin, tiny.photos(1, side, side), [[1]])


def test_a_size_the_model_does_not_take_names_both() -> None:
    with pytest.raises(InputError, match=r"photos are 32×40 but the model takes 32×32"):
        getam(tiny.vit(), tiny.photos(1, 32, 40), [[1]])
    with pytest.raises(InputError, match=r"photos are 32×30 but the model's patches are 8×8"):
        getam(tiny.vit(dynamic_img_size=True), tiny.photos(1, 32, 30), [[1]])


def test_a_model_without_scores_is_refused() -> None:
    with pytest.raises(CaptureError, match="class scores"):
        getam(tiny.vit(num_classes=0, global_pool="", class_token=True), tiny.photos(1), [[1]])


def test_both_heads_of_a_distilled_model_in_train_mode_are_averaged() -> None:
    model = tiny.MODELS["distilled, 2 prefix tokens"]()
    model.set_distilled_training(True)
    images = tiny.photos(1)
    expected = model(images)
    torch.testing.assert_close(class_scores(model.train(), images), expected)
