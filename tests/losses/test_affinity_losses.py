"""L_aff and its pairs against loops over pairs of patches, and gradients against finite differences."""

import torch

from getam.losses.affinity import RADIUS, affinity_labels, affinity_loss

LABEL = torch.tensor([[[0, 0, 1, 1], [255, 2, 2, 1], [0, 0, 0, 255]], [[1, 1, 1, 1]] * 3], dtype=torch.uint8)


def test_pairs_are_those_of_a_loop() -> None:
    found = affinity_labels(LABEL, (3, 4), radius=2)
    assert (found.shape, found.dtype) == ((2, 12, 12), torch.uint8)
    for photo in range(2):
        for i in range(12):
            for j in range(12):
                one, other = LABEL[photo].flatten()[[i, j]].tolist()
                far = abs(i // 4 - j // 4) > 2 or abs(i % 4 - j % 4) > 2
                expected = 255 if far or 255 in (one, other) else int(one == other)
                assert found[photo, i, j] == expected
    assert torch.equal(found, found.transpose(1, 2))
    assert RADIUS == 8


def test_long_class_lists_have_another_number_for_undecided() -> None:
    deep = torch.where(LABEL == 255, 65535, LABEL.int())
    deep[deep == 2] = 255  # a class
    found = affinity_labels(deep, (3, 4), radius=2, ignore=65535)
    assert torch.equal(found, affinity_labels(LABEL, (3, 4), radius=2))


def test_the_radius_is_eight_unless_told() -> None:
    row = torch.zeros(1, 1, 12, dtype=torch.uint8)
    assert (affinity_labels(row, (1, 12))[0, 0] == 1).tolist() == [True] * 9 + [False] * 3


def test_a_patch_has_the_label_of_its_centre() -> None:
    label = torch.zeros(1, 6, 6, dtype=torch.uint8)
    label[:, :, 1] = 3  # the centre column of the left patches
    assert affinity_labels(label, (2, 2))[0].tolist() == [[1, 0, 1, 0], [0, 1, 0, 1]] * 2


def test_loss_is_that_of_a_loop() -> None:
    torch.manual_seed(0)
    affinity, labels = torch.rand(2, 12, 12), affinity_labels(LABEL, (3, 4), radius=2)
    same = [1 - a for a, w in zip(affinity.flatten().tolist(), labels.flatten().tolist()) if w == 1]
    different = [a for a, w in zip(affinity.flatten().tolist(), labels.flatten().tolist()) if w == 0]
    expected = 0.5 * sum(same) / (len(same) + 1) + 0.5 * sum(different) / (len(different) + 1)
    torch.testing.assert_close(affinity_loss(affinity, labels), torch.tensor(expected))


def test_a_perfect_affinity_costs_nothing() -> None:
    labels = affinity_labels(LABEL, (3, 4))
    assert affinity_loss((labels == 1).float(), labels) == 0


def test_sets_without_pairs_are_finite() -> None:
    for value, expected in ((255, 0.0), (1, 0.5 * 4 * 0.5 / 5), (0, 0.5 * 4 * 0.5 / 5)):
        affinity = torch.full((1, 2, 2), 0.5, requires_grad=True)
        loss = affinity_loss(affinity, torch.full((1, 2, 2), value))
        loss.backward()
        assert affinity.grad is not None
        assert affinity.grad.isfinite().all()
        assert abs(loss.item() - expected) < 1e-7


def test_gradient() -> None:
    labels = affinity_labels(LABEL[:1], (3, 4), radius=1)
    affinity = torch.rand(1, 12, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: affinity_loss(a, labels), affinity)
