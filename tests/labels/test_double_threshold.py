"""Double thresholds: the rule by hand, and IRN's and AFA's chains rebuilt from their parts."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from getam.errors import InputError
from getam.labels import double_threshold as double_threshold_file
from getam.labels.double_threshold import (
    AFA_HIGH,
    AFA_LOW,
    IRN_HIGH,
    IRN_LOW,
    afa_label,
    afa_walked_label,
    agreed,
    double_threshold,
    irn_label,
)
from getam.refine.crf import dense_crf, label_probabilities
from getam.refine.crf_parameters import IRN
from getam.refine.par import par


def combined_as_in_the_field(high, low):
    """`lab = high; lab[high==0] = 255; lab[(high+low)==0] = 0`, pixel by pixel."""
    return [h if h else (0 if h + low_one == 0 else 255) for h, low_one in zip(high, low)]


def test_agreement_is_the_rule_of_the_field_on_every_pair():
    pairs = [(h, low) for h in range(4) for low in range(4)]
    strict, loose = (torch.tensor(side, dtype=torch.uint8) for side in zip(*pairs))
    assert agreed(strict, loose).tolist() == combined_as_in_the_field(strict.tolist(), loose.tolist())


@settings(max_examples=30, deadline=None)
@given(slots=st.integers(0, 3), low=st.floats(0, 1), gap=st.floats(0, 1), seed=st.integers(0, 2**16))
def test_without_refinement_it_compares_the_best_map_with_both_levels(slots, low, gap, seed):
    generator = torch.Generator().manual_seed(seed)
    high = min(low + gap, 1.0)
    maps = torch.rand(2, slots, 3, 4, generator=generator)
    classes = torch.stack([torch.randperm(9, generator=generator)[:slots] for _ in range(2)])
    classes[:, 1:][torch.rand(2, max(slots - 1, 0), generator=generator) < 0.4] = -1

    label = double_threshold(maps, classes, high=high, low=low)

    for photo in range(2):
        for y in range(3):
            for x in range(4):
                values = {int(c) + 1: float(m[y, x]) for c, m in zip(classes[photo], maps[photo]) if c >= 0}
                best = max(values, key=values.get, default=0)
                level = values.get(best, 0.0)
                if level > torch.tensor(high):
                    assert label[photo, y, x] == best
                else:
                    assert label[photo, y, x] == (255 if level > torch.tensor(low) else 0)


@pytest.fixture
def scene():
    """Photo (1,3,24,32) with a bright disc, and maps (1,2,24,32) of which the first shows most of it."""
    y, x = torch.meshgrid(torch.arange(24), torch.arange(32), indexing="ij")
    disc = (y - 12) ** 2 + (x - 14) ** 2 < 49
    photo = torch.where(disc, 210.0, 40.0).expand(1, 3, 24, 32) + torch.randn(1, 3, 24, 32)
    blob = torch.exp(-((y - 11) ** 2 + (x - 16) ** 2) / 50.0)
    return photo.clamp(0, 255), torch.stack([blob, blob / 3])[None], torch.tensor([[7, 2]]), disc


def test_irn_is_two_hard_labels_through_the_crf(scene):
    photo, maps, classes, disc = scene
    names = torch.tensor([0, 8, 3], dtype=torch.uint8)
    levels = []
    for level in (0.3, 0.05):
        hard = torch.cat([torch.full((1, 1, 24, 32), level), maps], 1).argmax(1)
        levels.append(names[dense_crf(photo, label_probabilities(hard, 3), parameters=IRN)[0].argmax(0)])
    label = irn_label(maps, classes, photo)[0]
    assert label.tolist() == agreed(*levels).tolist()
    assert (label[disc] == 8).float().mean() > 0.9


def test_afa_is_two_softmaxes_through_par_at_half_size(scene):
    photo, maps, classes, _ = scene
    half = F.interpolate(photo, (12, 16), mode="bilinear")
    names = torch.tensor([0, 8, 3], dtype=torch.uint8)
    levels = []
    for level in (0.55, 0.35):
        stack = torch.cat([torch.full((1, 1, 24, 32), level), maps], 1).softmax(1)
        refined = F.interpolate(par(half, stack), (24, 32), mode="bilinear")
        levels.append(names[refined[0].argmax(0)])
    label = afa_label(maps, classes, photo)[0]
    assert label.tolist() == agreed(*levels).tolist()
    assert set(label.unique().tolist()) == {0, 8, 255}


def walked(stack, affinity, grid, radius=8):
    """One step of a walk, patch by patch: a^2 over the window, each column divided by its sum, one multiplication."""
    height, width = grid
    places = [(y, x) for y in range(height) for x in range(width)]
    transition = torch.zeros_like(affinity)
    for i, (y, x) in enumerate(places):
        for j, (v, u) in enumerate(places):
            if abs(y - v) <= radius and abs(x - u) <= radius:
                transition[i, j] = affinity[i, j] ** 2
    for j in range(len(places)):
        transition[:, j] /= transition[:, j].sum()
    return (stack.flatten(2) @ transition).unflatten(2, grid)


@pytest.mark.parametrize("levels", [{}, {"high": 0.7, "low": 0.2}])
def test_afa_walks_on_softmaxes_before_par(scene, levels):
    """A grid wider than the window; affinities are symmetric, as those that are learned."""
    photo, maps, classes, _ = scene
    grid, names = (3, 11), torch.tensor([0, 8, 3], dtype=torch.uint8)
    affinity = torch.rand(33, 33, generator=torch.Generator().manual_seed(2)) ** 4
    affinity = (affinity + affinity.T) / 2 + torch.eye(33)
    found = []
    for level in ({"high": 0.55, "low": 0.35} | levels).values():
        stack = torch.cat([torch.full((1, 1, 24, 32), level), maps], 1)
        patches = F.interpolate(stack, grid, mode="bilinear").exp()
        spread = walked(patches / patches.sum(1, keepdim=True), affinity, grid)
        refined = par(F.interpolate(photo, (12, 16), mode="bilinear"), spread)
        found.append(names[F.interpolate(refined, (24, 32), mode="bilinear")[0].argmax(0)])
    label = afa_walked_label(maps, classes, photo, affinity[None], grid, **levels)
    assert label.dtype == torch.uint8
    assert label[0].tolist() == agreed(*found).tolist()
    assert not torch.equal(label, afa_label(maps, classes, photo, **levels))
    assert len(label.unique()) > 1


def test_each_photo_walks_along_its_own_affinity(scene):
    photo, maps, classes, _ = scene
    affinity = torch.stack([torch.eye(12), torch.ones(12, 12)])
    double = [torch.cat([each, each]) for each in (maps, classes, photo)]
    both = afa_walked_label(*double, affinity, (3, 4))
    for own, alone in zip(both, affinity):
        assert torch.equal(own, afa_walked_label(maps, classes, photo, alone[None], (3, 4))[0])
    assert not torch.equal(both[0], both[1])


def test_afa_labels_a_map_that_fills_its_object():
    """Peak 1 on a square, 0 elsewhere: the square in both labels, however much PAR and the walk average."""
    inside = torch.zeros(48, 48, dtype=torch.bool)
    inside[12:36, 12:36] = True
    photo = torch.where(inside, 200.0, 60.0).expand(1, 3, 48, 48) + 5 * torch.randn(1, 3, 48, 48)
    maps, classes = inside[None, None].float(), torch.tensor([[3]])
    patches = inside[2::4, 2::4].flatten()  # centres of 4-pixel patches
    alike = torch.where(patches[:, None] == patches, 0.95, 0.05)[None]
    for label in (
        afa_label(maps, classes, photo),
        afa_walked_label(maps, classes, photo, alike, (12, 12)),
    ):
        assert (label[0][inside] == 4).float().mean() > 0.95
        assert (label[0][~inside] == 0).float().mean() > 0.95


def test_the_levels_are_the_published_ones():
    """IRN: conf_fg_thres 0.30 and conf_bg_thres 0.05 of run_sample.py. AFA: 0.55 and 0.35 on VOC."""
    assert (IRN_HIGH, IRN_LOW, AFA_HIGH, AFA_LOW) == (0.30, 0.05, 0.55, 0.35)
    maps = torch.tensor([[[[0.04, 0.05, 0.06, 0.29, 0.30, 0.31]]]])
    assert double_threshold(maps, torch.tensor([[4]])).flatten().tolist() == [0, 0, 255, 255, 255, 5]


def test_photos_that_nothing_looks_at_change_nothing(scene):
    photo, maps, classes, _ = scene
    assert torch.equal(double_threshold(maps, classes, photo), double_threshold(maps, classes))


@pytest.mark.parametrize("labeller", [irn_label, afa_label])
def test_other_levels_are_used(labeller, scene):
    photo, maps, classes, _ = scene
    strict, loose = (labeller(maps, classes, photo, high=level, low=level) for level in (0.9, 0.02))
    assert torch.equal(labeller(maps, classes, photo, high=0.9, low=0.02), agreed(strict, loose))
    assert not torch.equal(strict, loose)


@pytest.mark.parametrize("size", [(24, 1200), (23, 500)])
def test_what_decides_sees_large_photos_as_their_copy_of_500(monkeypatch, scene, size):
    photo, maps, classes, _ = scene
    large = [F.interpolate(t, size, mode="bilinear") for t in (photo, maps)]
    seen = (10, 500) if size[1] == 1200 else (23, 500)
    asked = []

    def spy(refiner):
        def asking(images, beliefs, **options):
            asked.append((tuple(images.shape), tuple(beliefs.shape)))
            return refiner(images, beliefs, **options)

        return asking

    monkeypatch.setattr(double_threshold_file, "dense_crf", spy(dense_crf))
    monkeypatch.setattr(double_threshold_file, "par", spy(par))
    for labeller, scale in ((irn_label, 1), (afa_label, 2)):
        asked.clear()
        label = labeller(large[1], classes, large[0])
        at = (seen[0] // scale, seen[1] // scale)
        assert asked == [((1, 3, *at), (1, 3, *(at if labeller is irn_label else size)))] * 2
        assert label.shape == (1, *size)
        assert label[0, size[0] // 2, size[1] * 14 // 32] == 8  # the middle of the disc


@pytest.mark.parametrize("labeller", [irn_label, afa_label])
def test_photos_without_a_tag_are_background_and_batches_do_not_mix(labeller, scene):
    photo, maps, classes, _ = scene
    both = labeller(
        torch.cat([maps, maps]), torch.cat([classes, torch.full((1, 2), -1)]), torch.cat([photo, photo])
    )
    assert torch.equal(both[:1], labeller(maps, classes, photo))
    assert (both[1] == 0).all()
    assert labeller(maps[:0], classes[:0], photo[:0]).shape == (0, 24, 32)


def test_misfitting_input_is_refused_by_name(scene):
    photo, maps, classes, _ = scene
    for high, low in ((0.2, 0.3), (1.1, 0.3), (0.2, -0.1)):
        with pytest.raises(InputError, match="0 ≤ low ≤ high ≤ 1"):
            double_threshold(maps, classes, high=high, low=low)
    assert double_threshold(maps, classes, high=1, low=0).shape == (1, 24, 32)
    with pytest.raises(InputError, match=r"classes \(1, 3\) do not belong together"):
        double_threshold(maps, torch.zeros(1, 3, dtype=torch.int64))
    with pytest.raises(InputError, match=r"images \(1, 3, 12, 32\)"):
        irn_label(maps, classes, photo[:, :, ::2])
    with pytest.raises(InputError, match="look at the photos"):
        double_threshold(maps, classes, decide=lambda image, beliefs: beliefs)
