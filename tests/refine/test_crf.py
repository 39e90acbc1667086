"""Dense CRF against mean field with every pair of pixels written out."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from getam.errors import InputError
from getam.refine import crf as crf_file
from getam.refine.crf import AFA, DEEPLAB, IRN, CRFParameters, dense_crf, label_probabilities

WIDE = CRFParameters(
    spatial_sigma=2, spatial_weight=3, bilateral_sigma_xy=15, bilateral_sigma_rgb=20, bilateral_weight=6
)


def gaussian_of_all_pairs(features):
    return torch.exp(-(torch.cdist(features.double(), features.double()) ** 2) / 2)


def pixel_features(image, sigma_xy, sigma_rgb=None):
    height, width = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    features = torch.stack([x, y]) / sigma_xy
    if sigma_rgb is not None:
        features = torch.cat([features, image / sigma_rgb])
    return features.flatten(1).T


def exact_mean_field(image, probabilities, parameters, iterations):
    """The update of the paper with both N×N matrices, in float64: (3,H,W), (C,H,W) -> (C,H,W)."""
    kernels = []
    for features, weight in (
        (pixel_features(image, parameters.spatial_sigma), parameters.spatial_weight),
        (
            pixel_features(image, parameters.bilateral_sigma_xy, parameters.bilateral_sigma_rgb),
            parameters.bilateral_weight,
        ),
    ):
        W = gaussian_of_all_pairs(features)
        D = W.sum(1)
        kernels.append(weight * W / (D[:, None] * D[None]).sqrt())
    log_p = probabilities.flatten(1).double().log()
    Q = log_p.softmax(0)
    for _ in range(iterations):
        energy = -log_p
        for kernel in kernels:
            # Potts: a class pays for what look-alikes give to every *other* class.
            given_to = Q @ kernel
            energy = energy + given_to.sum(0) - given_to
        Q = (-energy).softmax(0)
    return Q.reshape(probabilities.shape).float()


class ExactLattice:
    """Stands in for the permutohedral lattice, without its approximation."""

    def __init__(self, features):
        W = gaussian_of_all_pairs(features)
        root = W.sum(1).rsqrt()
        self.matrix = (root[:, None] * W * root).float()

    @classmethod
    def bilateral(cls, image, *, sigma_xy, sigma_rgb):
        return cls(pixel_features(image, sigma_xy, sigma_rgb))

    def filter_symmetric(self, values):
        return self.matrix @ values


@pytest.fixture
def scene():
    """Photo (1,3,20,28) with a bright disc on a shaded ground, and noisy beliefs (1,3,20,28) about it."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(0, 1, 20), torch.linspace(0, 1, 28), indexing="ij")
    disc = ((x - 0.4) ** 2 + (y - 0.5) ** 2 < 0.08).float()
    image = torch.stack([60 + 60 * x + 90 * disc, 90 - 40 * y + 60 * disc, 80 + 40 * x * y - 40 * disc])
    image = (image + 6 * torch.randn(image.shape, generator=generator)).clamp(0, 255)
    logits = torch.stack([1 - disc, 1.2 * disc, torch.zeros_like(disc)])
    logits = logits + torch.randn(logits.shape, generator=generator)
    return image[None], logits.softmax(0)[None], disc.long()


def test_with_the_exact_bilateral_filter_it_is_the_exact_mean_field(scene, monkeypatch):
    monkeypatch.setattr(crf_file, "PermutohedralLattice", ExactLattice)
    images, probabilities, _ = scene
    refined = dense_crf(images, probabilities, parameters=WIDE, iterations=5)
    expected = exact_mean_field(images[0], probabilities[0], WIDE, 5)
    torch.testing.assert_close(refined[0], expected, rtol=0, atol=1e-3)


def test_the_lattice_comes_to_the_same_decisions_as_all_pairs(scene):
    images, probabilities, disc = scene
    refined = dense_crf(images, probabilities, parameters=WIDE, iterations=5)[0]
    expected = exact_mean_field(images[0], probabilities[0], WIDE, 5)
    assert (refined.argmax(0) == expected.argmax(0)).float().mean() > 0.99
    assert (refined - expected).abs().mean() < 0.02
    assert (
        (refined.argmax(0) == disc).float().mean()
        > 0.97
        > (probabilities[0].argmax(0) == disc).float().mean()
    )


@pytest.mark.parametrize("parameters", [IRN, DEEPLAB, AFA])
def test_every_preset_cleans_up_and_gives_probabilities(scene, parameters):
    images, probabilities, disc = scene
    refined = dense_crf(images, probabilities, parameters=parameters)
    torch.testing.assert_close(refined.sum(1), torch.ones(1, 20, 28))
    before, after = ((p[0].argmax(0) == disc).float().mean() for p in (probabilities, refined))
    assert after > before


def test_without_iterations_or_weights_beliefs_are_only_normalised(scene):
    images, probabilities, _ = scene
    weightless = dataclasses.replace(IRN, spatial_weight=0, bilateral_weight=0)
    for refined in (
        dense_crf(images, 3 * probabilities, iterations=0),
        dense_crf(images, 3 * probabilities, parameters=weightless),
    ):
        torch.testing.assert_close(refined, probabilities)


def test_photos_of_a_batch_do_not_mix_and_order_of_classes_does_not_matter(scene):
    images, probabilities, _ = scene
    both = torch.cat([images, images.flip(-1)]), torch.cat([probabilities, probabilities.flip(1)])
    together = dense_crf(*both)
    torch.testing.assert_close(together[:1], dense_crf(images, probabilities))
    torch.testing.assert_close(
        together[1:], dense_crf(both[0][1:], probabilities).flip(1), rtol=1e-4, atol=1e-5
    )


def test_certain_zeros_stay_finite(scene):
    images, probabilities, _ = scene
    hard = F.one_hot(probabilities.argmax(1), 3).movedim(-1, 1)
    assert torch.isfinite(dense_crf(images, hard)).all()


def test_hard_labels_come_back_when_nothing_speaks_against_them():
    labels = torch.zeros(1, 12, 16, dtype=torch.uint8)
    labels[:, :, 8:] = 1
    labels[:, :, 7:9] = 255
    images = torch.where(torch.arange(16) >= 8, 200.0, 30.0).expand(1, 3, 12, 16)
    refined = dense_crf(images, label_probabilities(labels, 2)).argmax(1)
    assert torch.equal(refined, (torch.arange(16) >= 8).long().expand(1, 12, 16))


def test_impossible_input_is_refused_by_name(scene):
    images, probabilities, _ = scene
    with pytest.raises(InputError, match=r"\(1, 3, 20, 28\).*\(1, 3, 10, 28\)"):
        dense_crf(images, probabilities[:, :, ::2])
    with pytest.raises(InputError, match="label 3"):
        label_probabilities(torch.tensor([[[3]]]), 3)
    with pytest.raises(InputError, match="bilateral_sigma_rgb is 0"):
        dataclasses.replace(IRN, bilateral_sigma_rgb=0)
