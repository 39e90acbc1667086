"""Dense CRF against mean field with every pair of pixels written out."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from getam.errors import InputError
from getam.refine import crf as crf_file
from getam.refine.crf import dense_crf, label_probabilities
from getam.refine.crf_parameters import AFA, DEEPLAB, IRN, CRFParameters

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


def test_the_presets_are_the_published_numbers():
    """Spatial σ and weight, bilateral σ in pixels and in colour levels and weight, from each paper's code."""
    published = {"IRN": (3, 3, 50, 5, 10), "DEEPLAB": (1, 3, 67, 3, 4), "AFA": (3, 3, 80, 13, 10)}
    for name, numbers in published.items():
        found = {"IRN": IRN, "DEEPLAB": DEEPLAB, "AFA": AFA}[name]
        assert found == CRFParameters(
            spatial_sigma=numbers[0],
            spatial_weight=numbers[1],
            bilateral_sigma_xy=numbers[2],
            bilateral_sigma_rgb=numbers[3],
            bilateral_weight=numbers[4],
        )


def test_without_numbers_it_is_ten_updates_with_irns(scene):
    images, probabilities, _ = scene
    found = dense_crf(images, probabilities)
    assert torch.equal(found, dense_crf(images, probabilities, parameters=IRN, iterations=10))
    for other in ({"iterations": 9}, {"iterations": 11}, {"parameters": AFA}, {"parameters": DEEPLAB}):
        assert not torch.equal(found, dense_crf(images, probabilities, **other))


@pytest.mark.parametrize("sigma", [0.7, 1, 1.6])
def test_the_spatial_kernel_is_the_exact_one_cut_at_four_sigma(scene, sigma):
    images, probabilities, _ = scene
    parameters = CRFParameters(sigma, 2, 5, 5, 0)
    y, x = (plane.flatten() for plane in torch.meshgrid(torch.arange(20), torch.arange(28), indexing="ij"))
    apart = [(axis[:, None] - axis).double() for axis in (y, x)]
    W = torch.exp(-(apart[0] ** 2 + apart[1] ** 2) / sigma**2 / 2)
    W[(torch.maximum(apart[0].abs(), apart[1].abs())) > math.ceil(4 * sigma)] = 0
    root = W.sum(1).rsqrt()
    log_p = probabilities[0].flatten(1).double().log()
    Q = log_p.softmax(0)
    for _ in range(3):
        Q = (log_p + 2 * (Q * root) @ W * root).softmax(0)
    found = dense_crf(images, probabilities, parameters=parameters, iterations=3)
    torch.testing.assert_close(found[0].flatten(1).double(), Q, rtol=0, atol=1e-6)


def test_either_kernel_alone(scene, monkeypatch):
    monkeypatch.setattr(crf_file, "PermutohedralLattice", ExactLattice)
    images, probabilities, _ = scene
    for off in ("spatial_weight", "bilateral_weight"):
        parameters = dataclasses.replace(WIDE, **{off: 0})
        refined = dense_crf(images, probabilities, parameters=parameters, iterations=2)
        expected = exact_mean_field(images[0], probabilities[0], parameters, 2)
        torch.testing.assert_close(refined[0], expected, rtol=0, atol=1e-3)


def test_a_kernel_without_weight_is_not_built(scene):
    images, probabilities, _ = scene
    unusable = dataclasses.replace(
        IRN, bilateral_sigma_rgb=1e-30, bilateral_weight=0
    )  # of which no lattice is made
    assert dense_crf(images, probabilities, parameters=unusable).shape == probabilities.shape
    unused = dataclasses.replace(unusable, bilateral_weight=1)
    torch.testing.assert_close(
        dense_crf(images, probabilities, parameters=unused, iterations=0), probabilities
    )
    with pytest.raises(InputError, match="standard deviations"):
        dense_crf(images, probabilities, parameters=unused)


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
    floored = dense_crf(images, hard, iterations=0)  # 1e-5 stands for "no"
    torch.testing.assert_close(floored.amin(), torch.tensor(1e-5 / (1 + 2e-5)))


def test_weights_of_any_size_stay_finite(scene):
    images, probabilities, _ = scene
    huge = dataclasses.replace(WIDE, spatial_weight=500, bilateral_weight=500)
    refined = dense_crf(images, probabilities, parameters=huge)
    torch.testing.assert_close(refined.sum(1), torch.ones_like(refined[:, 0]))


def test_hard_labels_come_back_when_nothing_speaks_against_them():
    labels = torch.zeros(1, 12, 16, dtype=torch.uint8)
    labels[:, :, 8:] = 1
    labels[:, :, 7:9] = 255
    images = torch.where(torch.arange(16) >= 8, 200.0, 30.0).expand(1, 3, 12, 16)
    refined = dense_crf(images, label_probabilities(labels, 2)).argmax(1)
    assert torch.equal(refined, (torch.arange(16) >= 8).long().expand(1, 12, 16))


def test_a_hard_label_is_believed_to_seven_tenths_and_255_not_at_all():
    labels = torch.tensor([[[2, 255]], [[0, 1]]], dtype=torch.uint8)
    expected = torch.tensor(
        [[[[0.15, 1 / 3]], [[0.15, 1 / 3]], [[0.7, 1 / 3]]], [[[0.7, 0.15]], [[0.15, 0.7]], [[0.15, 0.15]]]]
    )
    torch.testing.assert_close(label_probabilities(labels, 3), expected)
    torch.testing.assert_close(
        label_probabilities(labels[1:], 2, confidence=0.9), torch.tensor([[[[0.9, 0.1]], [[0.1, 0.9]]]])
    )


def test_impossible_input_is_refused_by_name(scene):
    images, probabilities, _ = scene
    with pytest.raises(InputError, match=r"\(1, 3, 20, 28\).*\(1, 3, 10, 28\)"):
        dense_crf(images, probabilities[:, :, ::2])
    with pytest.raises(InputError, match="label 3"):
        label_probabilities(torch.tensor([[[3]]]), 3)
    for misfit in (images[:, :1], images[0], images.expand(2, 3, 20, 28)):
        with pytest.raises(InputError, match="of the same batch and size"):
            dense_crf(misfit, probabilities)
    for dimensions in (slice(0, 3), slice(0, 2), slice(0, 1)):  # rows, or numbers, in place of photos
        with pytest.raises(InputError, match="of the same batch and size"):
            dense_crf(torch.rand((1, 3, 4, 5)[dimensions]), torch.rand((1, 2, 4, 5)[dimensions]))
    with pytest.raises(InputError, match="label -1"):
        label_probabilities(torch.tensor([[[-1]]]), 3)
    with pytest.raises(InputError, match="fewer than 2 classes"):
        label_probabilities(torch.tensor([[[255]]]), 1)
    for name in ("spatial_sigma", "bilateral_sigma_xy", "bilateral_sigma_rgb"):
        for impossible in (0, -1, math.nan):
            with pytest.raises(InputError, match=f"{name} is {impossible}"):
                dataclasses.replace(IRN, **{name: impossible})
    for name in ("spatial_weight", "bilateral_weight"):
        with pytest.raises(InputError, match=f"{name} is -1"):
            dataclasses.replace(IRN, **{name: -1})
