"""The random walk against walkers counted one by one, and what each normalisation keeps."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from getam.errors import InputError
from getam.refine.random_walk import (
    ACR,
    AFA,
    IRN,
    Walk,
    attention_affinity,
    random_walk,
    window,
)


def walk_in_plain_loops(maps, affinity, grid, walk):
    """One map (list of N) and one affinity (nested lists), a step at a time."""
    patches = range(grid[0] * grid[1])

    def within(i, j):
        (yi, xi), (yj, xj) = divmod(i, grid[1]), divmod(j, grid[1])
        return walk.radius is None or (abs(yi - yj) <= walk.radius and abs(xi - xj) <= walk.radius)

    T = [[affinity[i][j] ** walk.power if within(i, j) else 0.0 for j in patches] for i in patches]
    if walk.normalise == "gather":
        T = [[value / sum(row) for value in row] for row in T]
    if walk.normalise == "scatter":
        columns = [sum(T[i][j] for i in patches) for j in patches]
        T = [[T[i][j] / columns[j] for j in patches] for i in patches]
    for _ in range(walk.steps):
        maps = [sum(T[i][j] * maps[j] for j in patches) for i in patches]
    return maps


@pytest.mark.parametrize(
    "walk",
    [
        AFA,
        ACR,
        dataclasses.replace(IRN, steps=9),
        Walk(power=3, steps=2, normalise="scatter", radius=1),
        Walk(power=0.5, steps=2, radius=0),
        Walk(steps=0),
    ],
)
def test_equals_plain_loops(walk):
    maps, affinity = torch.rand(2, 3, 3, 4), torch.rand(2, 12, 12) + 0.1
    walked = random_walk(maps, affinity, walk=walk)
    for photo in range(2):
        for slot in range(3):
            expected = walk_in_plain_loops(
                maps[photo, slot].flatten().tolist(), affinity[photo].tolist(), (3, 4), walk
            )
            torch.testing.assert_close(walked[photo, slot].flatten(), torch.tensor(expected))


def test_the_presets_are_the_published_numbers():
    assert Walk(power=2, steps=1, normalise="gather", radius=8) == AFA  # arXiv 2203.02664
    assert Walk(power=10, steps=256, normalise="gather", radius=5) == IRN  # arXiv 1904.05044
    assert Walk(power=1, steps=1, normalise="none", radius=None) == ACR  # arXiv 2308.04321
    assert Walk(power=1, steps=1, normalise="gather", radius=None) == Walk()


def test_without_a_walk_it_is_afas_on_a_grid_that_shows_its_radius():
    maps, affinity = torch.rand(1, 1, 11, 10), torch.rand(1, 110, 110) + 0.1
    walked = walk_in_plain_loops(maps.flatten().tolist(), affinity[0].tolist(), (11, 10), AFA)
    torch.testing.assert_close(random_walk(maps, affinity).flatten(), torch.tensor(walked))
    wider = dataclasses.replace(AFA, radius=9)
    assert not torch.allclose(random_walk(maps, affinity, walk=wider), random_walk(maps, affinity))


@pytest.mark.parametrize("normalise", ["gather", "scatter"])
def test_the_magnitude_of_affinities_does_not_matter(normalise):
    maps, affinity = torch.rand(1, 2, 2, 3), torch.rand(1, 6, 6) + 0.1
    walk = dataclasses.replace(IRN, normalise=normalise)
    tiny = random_walk(maps, affinity * 1e-6, walk=walk)  # to the 10th: below the smallest float32
    torch.testing.assert_close(tiny, random_walk(maps, affinity, walk=walk), rtol=1e-3, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    power=st.sampled_from([0.5, 1, 2, 10]),
    steps=st.integers(0, 6),
    radius=st.none() | st.integers(0, 4),
    empty=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_gathering_keeps_the_range_and_scattering_the_sum(height, width, power, steps, radius, empty, seed):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(1, 2, height, width, generator=generator)
    affinity = torch.rand(1, height * width, height * width, generator=generator)
    affinity[:, :, 0] = affinity[:, 0] = 0.0  # a patch nobody knows
    affinity = affinity * (not empty)
    walk = Walk(power=power, steps=steps, radius=radius)

    gathered = random_walk(maps, affinity, walk=walk)
    scattered = random_walk(maps, affinity, walk=dataclasses.replace(walk, normalise="scatter"))

    assert gathered.shape == maps.shape
    assert (gathered <= maps.amax((2, 3), keepdim=True) + 1e-5).all()
    assert (gathered >= maps.amin((2, 3), keepdim=True) - 1e-5).all()
    torch.testing.assert_close(scattered.sum((2, 3)), maps.sum((2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gathered[..., 0, 0], maps[..., 0, 0])  # it keeps what it has


def test_activation_stays_within_its_segment_however_long_the_walk():
    left = torch.arange(20) % 5 < 2
    affinity = (left[:, None] == left).float()[None]
    seed = torch.zeros(1, 1, 4, 5)
    seed[0, 0, 1, 0] = 1
    walked = random_walk(seed, affinity, walk=IRN)[0, 0]
    assert (walked[:, 2:] == 0).all()
    torch.testing.assert_close(walked[:, :2], torch.full((4, 2), 1 / 8))


def test_the_window_is_symmetric_and_counts_both_axes():
    near = window((4, 6), 1)
    assert torch.equal(near, near.T)
    y, x = 1, 2
    seen = near[y * 6 + x].view(4, 6).nonzero().tolist()
    assert seen == [[i, j] for i in (0, 1, 2) for j in (1, 2, 3)]


def test_attention_becomes_an_affinity_of_patches():
    attentions = [torch.rand(2, 4, 8, 8).softmax(-1) for _ in range(3)]
    affinity = attention_affinity(attentions, prefix=2)
    assert affinity.shape == (2, 6, 6)
    i, j = 1, 4
    both = [a[0, h, 2 + p, 2 + q] for a in attentions for h in range(4) for p, q in ((i, j), (j, i))]
    torch.testing.assert_close(affinity[0, i, j], torch.stack(both).mean())
    torch.testing.assert_close(affinity, affinity.mT)
    one_way = attention_affinity(attentions, prefix=2, symmetric=False)
    torch.testing.assert_close((one_way + one_way.mT) / 2, affinity)
    assert not torch.equal(one_way, one_way.mT)


def test_misfitting_input_is_refused_by_name():
    with pytest.raises(InputError, match=r"\(1, 1, 4, 4\).*\(1, 9, 9\).*not yet enlarged"):
        random_walk(torch.zeros(1, 1, 4, 4), torch.ones(1, 9, 9))
    with pytest.raises(InputError, match="negative"):
        random_walk(torch.zeros(1, 1, 1, 2), torch.tensor([[[1.0, -0.1], [0.0, 1.0]]]))
    for impossible in ({"power": 0}, {"power": -1}, {"steps": -1}, {"radius": -1}):
        with pytest.raises(InputError, match="the power must be above 0"):
            Walk(**impossible)
    assert Walk(steps=0, radius=0).radius == 0
    with pytest.raises(InputError, match="gather, scatter or none"):
        Walk(normalise="rows")
    with pytest.raises(InputError, match="not yet enlarged"):
        random_walk(torch.zeros(1, 4, 4), torch.ones(1, 16, 16))
    with pytest.raises(InputError, match="not yet enlarged"):
        random_walk(torch.zeros(2, 1, 1, 2), torch.ones(1, 2, 2))
    one = torch.ones(1, 2, 3, 3)
    for attentions, prefix in (
        ([one], 3), ([one], -1), ([], 1), ([one[0]], 1), ([one, one[..., :2, :2]], 1), ([one[..., :2]], 1),
    ):  # fmt: skip
        with pytest.raises(InputError, match="T > prefix"):
            attention_affinity(attentions, prefix=prefix)
    assert attention_affinity([one], prefix=2).shape == (1, 1, 1)
    assert attention_affinity([one], prefix=0).shape == (1, 3, 3)
