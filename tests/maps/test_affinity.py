"""Attention affinity and propagation against loops over patches; acr() against both steps done by hand."""

import pytest
import torch

import tiny
from getam.errors import CaptureError
from getam.maps.acr import acr
from getam.maps.affinity import normalise_columns, normalise_rows, propagate
from getam.maps.getam import getam
from matrices import every_matrix


def test_propagation_by_hand() -> None:
    maps = torch.tensor([[[[1.0, 2.0, 0.0]]]])
    A = torch.tensor([[[0.5, 0.25, 0.0], [1.0, 0.0, 0.0], [0.0, 3.0, 1.0]]])
    torch.testing.assert_close(propagate(maps, A), torch.tensor([[[[1.0, 1.0, 6.0]]]]))
    torch.testing.assert_close(propagate(maps, A, steps=2), torch.tensor([[[[0.75, 1.0, 9.0]]]]))


def test_rows_gather_a_mean_and_columns_keep_the_sum() -> None:
    maps, A = torch.rand(2, 3, 2, 3), torch.rand(2, 6, 6)
    flat = torch.full((2, 3, 2, 3), 0.7)
    torch.testing.assert_close(propagate(flat, normalise_rows(A)), flat)
    spread = propagate(maps, normalise_columns(A), steps=3)
    torch.testing.assert_close(spread.sum((2, 3)), maps.sum((2, 3)))
    assert not propagate(maps, normalise_rows(torch.zeros(2, 6, 6))).any()


@pytest.mark.parametrize("name", ["plain", "distilled, 2 prefix tokens", "averaged"])
@pytest.mark.parametrize("coupling", ["grad", "attn_grad2"])
def test_acr_is_the_last_two_blocks_spread_along_all(name: str, coupling: str) -> None:
    model = tiny.MODELS[name]()
    images = tiny.photos(2)
    maps = acr(model, images, [[1, 0], [2]], coupling=coupling)
    for b, k, c in ((0, 0, 1), (0, 1, 0), (1, 0, 2)):
        A, G = every_matrix(model, images[b : b + 1], c, pool=False)
        v = torch.zeros(16)
        for attention, gradient in list(zip(A, G))[2:]:
            g = gradient[0].clamp(min=0).mean(0)
            block = g if coupling == "grad" else (attention * gradient)[0].clamp(min=0).mean(0) * g
            v += block[-16:].mean(0)[-16:] if name == "averaged" else block[0, -16:]
        wanted = torch.zeros(16)
        for attention in A:
            wanted += attention[0].mean(0)[-16:, -16:] @ v
        torch.testing.assert_close(
            maps.values[b, k], wanted.view(4, 4), rtol=1e-3, atol=1e-6 * float(wanted.max())
        )
    assert not maps.values[1, 1].any()


def test_start_counts_blocks_of_the_map_only() -> None:
    model, image = tiny.vit(), tiny.photos(1)
    A, _ = every_matrix(model, image, 1, pool=False)
    affinity = sum(a.mean(1)[:, -16:, -16:] for a in A)
    wanted = propagate(getam(model, image, [[1]], coupling="grad", start=0).values, affinity)
    torch.testing.assert_close(acr(model, image, [[1]], start=0).values, wanted, rtol=1e-3, atol=1e-9)


def test_a_model_without_attention_is_refused() -> None:
    with pytest.raises(CaptureError):
        acr(torch.nn.Linear(2, 2), tiny.photos(1), [[0]])
