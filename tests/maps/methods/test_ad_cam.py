"""ad_cam(): GETAM's map diffused along attention, against loops over patches and against the refiner."""

import pytest
import torch

import tiny
from getam.errors import CaptureError
from getam.maps.affinity import model_affinity
from getam.maps.methods.ad_cam import ad_cam
from getam.maps.methods.getam import getam
from getam.refine.registry import refine
from matrices import every_matrix


@pytest.mark.parametrize("name", ["plain", "distilled, 2 prefix tokens", "averaged"])
def test_it_is_five_steps_of_diffusion_from_getams_map(name: str) -> None:
    model, image = tiny.MODELS[name](), tiny.photos(1)
    first = getam(model, image, [[2]], coupling="grad", start=1).values[0, 0].flatten()
    A, _ = every_matrix(model, image, 2, pool=False)
    mean = torch.stack([a[0].mean(0)[-16:, -16:] for a in A]).mean(0)
    mean = (mean + mean.T) / 2
    B = torch.zeros(16, 16)
    for i in range(16):
        for j in range(16):
            B[i, j] = mean[i, j] * (mean[i] @ mean[j]) / (mean[i].norm() * mean[j].norm())
        B[i] /= B[i].sum()
    m = first
    for _ in range(5):
        m = torch.stack([0.5 * first[i] + 0.5 * sum(B[j, i] * m[j] for j in range(16)) for i in range(16)])
    found = ad_cam(model, image, [[2]], coupling="grad", start=1)
    torch.testing.assert_close(found.values[0, 0].flatten(), m, rtol=1e-3, atol=1e-5 * float(m.max()))
    assert (found.method, found.grid) == ("ad-cam[grad]", (4, 4))


def test_it_is_the_refiner_on_getams_map_and_keeps_its_sum() -> None:
    model, images = tiny.vit(), tiny.photos(2)
    maps, raw = ad_cam(model, images, [[1, 0], [2]]), getam(model, images, [[1, 0], [2]])
    affinity, _ = model_affinity(model, images)
    torch.testing.assert_close(maps.values, refine(["diffusion"], raw.values, affinity=affinity))
    torch.testing.assert_close(maps.values.sum((2, 3)), raw.values.sum((2, 3)))
    torch.testing.assert_close(maps.scores, raw.scores)
    assert not maps.values[1, 1].any()
    assert ad_cam(model, images, [[], []]).values.shape == (2, 0, 4, 4)


def test_a_model_without_attention_is_refused() -> None:
    with pytest.raises(CaptureError):
        ad_cam(torch.nn.Linear(2, 2), tiny.photos(1), [[0]])
