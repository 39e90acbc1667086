"""The affinity of a model against loops over its matrices; acr() against both steps done by hand."""

import pytest
import torch

import tiny
from getam.errors import CaptureError
from getam.maps.affinity import model_affinity, model_attention
from getam.maps.methods.acr import acr
from getam.maps.methods.getam import getam
from matrices import every_matrix


@pytest.mark.parametrize(
    "name", ["plain", "distilled, 2 prefix tokens", "averaged without token", "4 registers"]
)
def test_the_affinity_of_a_model_is_the_mean_of_its_matrices(name: str) -> None:
    model = tiny.MODELS[name]()
    images = tiny.photos(2, model=model)
    found, grid = model_affinity(model, images)
    assert grid == (4, 4)
    for b in range(2):
        A, _ = every_matrix(model, images[b : b + 1], 1, pool=False)
        total = torch.zeros(16, 16)
        for matrix in A:
            for head in matrix[0]:
                patches = head[-16:, -16:]
                total += (patches + patches.T) / 2
        wanted = total / (len(A) * A[0].shape[1])
        torch.testing.assert_close(found[b], wanted, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("depth", "counted"), [(4, 4), (10, 8)])
def test_the_attention_of_a_model_is_the_mean_of_its_last_eight_blocks(depth: int, counted: int) -> None:
    model, images = tiny.vit(depth=depth), tiny.photos(2)
    found, grid = model_attention(model, images)
    assert grid == (4, 4)
    for b in range(2):
        A, _ = every_matrix(model, images[b : b + 1], 1, pool=False)
        wanted = torch.stack([matrix[0].mean(0) for matrix in A[-counted:]]).mean(0)[1:, 1:]
        torch.testing.assert_close(found[b], wanted, rtol=1e-4, atol=1e-7)


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
    once = getam(model, image, [[1]], coupling="grad", start=0).values
    wanted = (affinity @ once.view(1, 16, 1)).view(1, 1, 4, 4)
    torch.testing.assert_close(acr(model, image, [[1]], start=0).values, wanted, rtol=1e-3, atol=1e-9)


def test_a_model_without_attention_is_refused() -> None:
    with pytest.raises(CaptureError):
        acr(torch.nn.Linear(2, 2), tiny.photos(1), [[0]])
