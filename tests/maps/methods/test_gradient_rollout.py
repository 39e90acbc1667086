"""gradient_rollout() against R ← R + Ā R with whole matrices, as the paper writes it."""

import pytest
import torch

import tiny
from getam.errors import CaptureError
from getam.maps.methods.gradient_rollout import gradient_rollout
from matrices import every_matrix


@pytest.mark.parametrize("name", ["plain", "distilled, 2 prefix tokens", "4 registers", "averaged"])
def test_equals_the_whole_product(name: str) -> None:
    model = tiny.MODELS[name]()
    images = tiny.photos(2)
    maps = gradient_rollout(model, images, [[1, 0], [2]])
    for b, k, c in ((0, 0, 1), (0, 1, 0), (1, 0, 2)):
        A, G = every_matrix(model, images[b : b + 1], c, pool=False)
        R = torch.eye(A[0].shape[-1])
        for attention, gradient in zip(A, G):
            R = R + (gradient * attention).clamp(min=0)[0].mean(0) @ R
        R = R - torch.eye(len(R))
        row = R[-16:].mean(0) if name == "averaged" else R[0]
        wanted = row[-16:].view(4, 4)
        torch.testing.assert_close(maps.values[b, k], wanted, rtol=1e-3, atol=1e-6 * float(wanted.max()))
    assert not maps.values[1, 1].any()
    assert maps.rows == ("patches" if name == "averaged" else "cls")


def test_a_pooling_attention_is_the_row_that_enters() -> None:
    model = tiny.vit(global_pool="map", class_token=False)
    image = tiny.photos(1)
    maps = gradient_rollout(model, image, [[1]])
    A, G = every_matrix(model, image, 1, pool=False)
    P, Q = every_matrix(model, image, 1, pool=True)
    R = torch.eye(16)
    for attention, gradient in zip(A, G):
        R = R + (gradient * attention).clamp(min=0)[0].mean(0) @ R
    wanted = ((Q[-1] * P[-1]).clamp(min=0)[0].mean(0) @ R).view(4, 4)
    torch.testing.assert_close(maps.values[0, 0], wanted, rtol=1e-3, atol=1e-6 * float(wanted.max()))


def test_classes_differ_and_a_model_without_attention_is_refused() -> None:
    maps = gradient_rollout(tiny.vit(), tiny.photos(1), [[1, 2]]).values[0]
    assert not torch.allclose(maps[0], maps[1])
    with pytest.raises(CaptureError, match="no patch_embed"):
        gradient_rollout(torch.nn.Linear(2, 2), tiny.photos(1), [[0]])
