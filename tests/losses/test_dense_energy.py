"""Dense energy against the sum over all pairs of pixels, value and gradient."""

import pytest
import torch
import torch.nn.functional as F

from getam.errors import InputError
from getam.losses import dense_energy as dense_energy_file
from getam.losses.dense_energy import dense_energy


def exact_gaussian(image, inside, values, sigma_xy, sigma_rgb):
    """W values by the N×N matrix, over the pixels inside."""
    y, x = torch.nonzero(inside, as_tuple=True)
    features = torch.cat([torch.stack([x, y]) / sigma_xy, image[:, inside] / sigma_rgb]).T
    return torch.exp(-(torch.cdist(features, features) ** 2) / 2) @ values


def half(plane):
    return F.avg_pool2d(plane, 2)


def exact_energy_and_gradient(probabilities, images, labels, roi, sigma_rgb, sigma_xy):
    """The formula, pair by pair, at half size, in float64; gradient with the gate held constant."""
    S, colours = half(probabilities.double()), half(images.double())
    region, unknown = roi[:, ::2, ::2].double(), labels[:, ::2, ::2] == 255
    gate = torch.relu(region - S.amax(1))
    gate[unknown] = 1
    S = S * region[:, None]
    everywhere = torch.ones(S.shape[-2:], dtype=torch.bool)
    energy, gradient = 0.0, torch.zeros_like(S)
    for b in range(len(S)):
        WS = exact_gaussian(colours[b], everywhere, S[b].flatten(1).T, sigma_xy / 2, sigma_rgb).T
        WS = WS.reshape(S[b].shape)
        energy -= (S[b] * gate[b] * WS).sum() / len(S)
        gradient[b] = -2 * gate[b] * WS * region[b] / len(S)
    return energy, F.interpolate(gradient, scale_factor=2, mode="nearest") / 4  # adjoint of the 2×2 mean


@pytest.fixture
def scene():
    """Two photo-like crops, 48×64: smooth shading, a disc and grain; padding on the right of the first."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(0, 1, 48), torch.linspace(0, 1, 64), indexing="ij")
    disc = ((x - 0.4) ** 2 + (y - 0.5) ** 2 < 0.08).float()
    shading = torch.stack([90 + 80 * x - 60 * disc, 120 - 50 * y + 70 * disc, 60 + 40 * x * y + 90 * disc])
    images = torch.stack([shading, shading.flip(-1).roll(1, 0)])
    images = (images + 12 * torch.randn(images.shape, generator=generator)).clamp(0, 255)
    coarse = torch.randn(2, 4, 6, 8, generator=generator)
    probabilities = F.interpolate(2 * coarse, (48, 64), mode="bilinear").softmax(1)
    labels = torch.randint(0, 4, (2, 48, 64), generator=generator, dtype=torch.uint8)
    labels[:, 10:20, 10:30] = 255
    roi = torch.ones(2, 48, 64)
    roi[0, :, 50:] = 0
    return probabilities.requires_grad_(), images, labels, roi


def test_with_the_exact_filter_value_and_gradient_are_the_formula(scene, monkeypatch):
    monkeypatch.setattr(dense_energy_file, "_gaussian", exact_gaussian)
    probabilities, images, labels, roi = scene

    energy = dense_energy(probabilities, images, labels, roi, weight=1e-3, sigma_rgb=20, sigma_xy=30)
    (gradient,) = torch.autograd.grad(3 * energy, probabilities)

    value, slope = exact_energy_and_gradient(probabilities.detach(), images, labels, roi, 20, 30)
    torch.testing.assert_close(energy.detach().double(), 1e-3 * value, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradient.double(), 3e-3 * slope, rtol=1e-4, atol=1e-7)


def test_lattice_agrees_with_all_pairs_up_to_one_factor(scene):
    probabilities, images, labels, roi = scene

    energy = dense_energy(probabilities, images, labels, roi, weight=1.0)
    (gradient,) = torch.autograd.grad(energy, probabilities)

    value, slope = exact_energy_and_gradient(probabilities.detach(), images, labels, roi, 15.0, 100.0)
    pair = torch.stack([gradient.flatten().double(), slope.flatten()])
    assert torch.corrcoef(pair)[0, 1] >= 0.99
    factor = (pair[0] @ pair[1] / (pair[1] @ pair[1])).item()
    assert 0.7 < factor < 1
    assert energy.item() / value.item() == pytest.approx(factor, rel=0.05)


def test_the_papers_numbers_are_the_defaults(scene, monkeypatch):
    """σ_rgb 15, σ_xy 100 pixels before resizing by a half, weight 1e-7 (arXiv 2112.02841, section 5)."""
    seen = []

    def spy(image, inside, values, sigma_xy, sigma_rgb):
        seen.append((tuple(image.shape), tuple(inside.shape), sigma_xy, sigma_rgb))
        return exact_gaussian(image, inside, values, sigma_xy, sigma_rgb)

    monkeypatch.setattr(dense_energy_file, "_gaussian", spy)
    probabilities, images, labels, roi = scene
    energy = dense_energy(probabilities, images, labels, roi)
    assert seen == [((3, 24, 32), (24, 32), 50.0, 15.0)] * 2
    value, _ = exact_energy_and_gradient(probabilities.detach(), images, labels, roi, 15.0, 100.0)
    torch.testing.assert_close(energy.detach().double(), 1e-7 * value, rtol=1e-5, atol=0)

    seen.clear()
    dense_energy(probabilities, images, labels, roi, scale=0.25, sigma_xy=40, sigma_rgb=7)
    assert seen == [((3, 12, 16), (12, 16), 10.0, 7)] * 2


def test_odd_sides_are_rounded_down_and_one_pixel_stays_one():
    for size in ((1, 1), (5, 7), (1, 6)):
        probabilities = torch.rand(1, 3, *size).softmax(1).requires_grad_()
        energy = dense_energy(
            probabilities, torch.rand(1, 3, *size) * 255, torch.full((1, *size), 255), torch.ones(1, *size)
        )
        assert energy.item() < 0
        energy.backward()


def test_gradient_is_zero_outside_the_region_even_where_labels_are_unknown(scene):
    probabilities, images, labels, roi = scene
    labels = labels.masked_fill(roi == 0, 255)
    (gradient,) = torch.autograd.grad(dense_energy(probabilities, images, labels, roi), probabilities)
    assert (gradient[0, :, :, 50:] == 0).all()
    assert (gradient[0, :, :, :50] != 0).any()


def test_what_lies_outside_the_region_does_not_matter(scene):
    probabilities, images, labels, roi = scene
    other = images.clone()
    other[0, :, :, 50:] = 255 - other[0, :, :, 50:]
    torch.testing.assert_close(
        dense_energy(probabilities, other, labels, roi), dense_energy(probabilities, images, labels, roi)
    )


def test_agreement_of_look_alikes_is_rewarded(scene):
    _, images, labels, roi = scene
    labels = torch.full_like(labels, 255)
    bright = (images.mean(1, keepdim=True) > images.mean()).float()
    along = torch.cat([bright, 1 - bright], 1)
    shuffled = along.flatten(2)[..., torch.randperm(48 * 64, generator=torch.Generator().manual_seed(2))]
    assert dense_energy(along, images, labels, roi) < dense_energy(
        shuffled.reshape(along.shape), images, labels, roi
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_an_empty_region_gives_zero_with_a_graph(scene, dtype):
    probabilities, images, labels, roi = scene
    energy = dense_energy(probabilities, images, labels, torch.zeros_like(roi, dtype=dtype))
    assert energy.item() == 0
    (gradient,) = torch.autograd.grad(energy, probabilities)
    assert (gradient == 0).all()


def test_certain_and_labelled_pixels_feel_nothing(scene):
    probabilities, images, labels, roi = scene
    certain = F.one_hot(probabilities.argmax(1), 4).movedim(-1, 1).float()
    certain = half(certain).round().repeat_interleave(2, -1).repeat_interleave(2, -2)
    certain[:, 0] = 1 - certain[:, 1:].sum(1)
    certain.requires_grad_()
    energy = dense_energy(certain, images, torch.zeros_like(labels), roi)
    assert energy.item() == pytest.approx(0, abs=1e-9)


def test_half_precision_is_summed_in_full(scene):
    probabilities, images, labels, roi = scene
    energy = dense_energy(probabilities.bfloat16(), images, labels, roi)
    assert energy.dtype == torch.float32
    torch.testing.assert_close(energy, dense_energy(probabilities, images, labels, roi), rtol=1e-2, atol=0)


def test_misfitting_input_is_refused_by_name(scene):
    probabilities, images, labels, roi = scene
    with pytest.raises(InputError, match=r"labels \(2, 24, 64\)"):
        dense_energy(probabilities, images, labels[:, ::2], roi)
    for misfit in (
        (probabilities[0], images, labels, roi),
        (probabilities, images[:, :1], labels, roi),
        (probabilities, images[:1], labels, roi),
        (probabilities, images, labels, roi[:, None]),
        (probabilities[:0], images[:0], labels[:0], roi[:0]),
    ):
        with pytest.raises(InputError, match="twice"):
            dense_energy(*misfit)
