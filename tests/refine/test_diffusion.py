"""Attention diffusion: each step by hand, and what the abstract it is rebuilt from asks of it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from getam.errors import InputError
from getam.refine.diffusion import attention_diffusion, conservative_affinity, neighbourhood_similarity


def diffused_in_plain_loops(m, A, steps, restart, sharpness, direction):
    """One map (list of N), one attention (nested lists)."""
    patches = range(len(m))

    def cosine(u, v):
        return sum(a * b for a, b in zip(u, v)) / math.hypot(*u) / math.hypot(*v)

    B = [[A[i][j] * cosine(A[i], A[j]) ** sharpness for j in patches] for i in patches]
    B = [[value / sum(row) for value in row] for row in B]
    now = m
    for _ in range(steps):
        if direction == "scatter":
            moved = [sum(B[j][i] * now[j] for j in patches) for i in patches]
        else:
            moved = [sum(B[i][j] * now[j] for j in patches) for i in patches]
        now = [restart * was + (1 - restart) * became for was, became in zip(m, moved)]
    return now


@pytest.mark.parametrize("direction", ["scatter", "gather"])
@pytest.mark.parametrize(
    ("steps", "restart", "sharpness"), [(5, 0.5, 1), (1, 0, 2), (3, 0.2, 0.5), (2, 0, 0)]
)
def test_equals_plain_loops(direction, steps, restart, sharpness):
    maps, attention = torch.rand(2, 2, 2, 3), torch.rand(2, 6, 6).softmax(-1)
    options = {"steps": steps, "restart": restart, "sharpness": sharpness, "direction": direction}
    diffused = attention_diffusion(maps, attention, **options)
    for photo in range(2):
        for slot in range(2):
            expected = diffused_in_plain_loops(
                maps[photo, slot].flatten().tolist(), attention[photo].tolist(), **options
            )
            torch.testing.assert_close(diffused[photo, slot].flatten(), torch.tensor(expected))


def test_by_default_half_is_restarted_five_times_and_activation_scattered():
    maps, attention = torch.rand(1, 1, 2, 3), torch.rand(1, 6, 6).softmax(-1) + torch.eye(6)
    expected = diffused_in_plain_loops(
        maps.flatten().tolist(), attention[0].tolist(), steps=5, restart=0.5, sharpness=1, direction="scatter"
    )
    torch.testing.assert_close(attention_diffusion(maps, attention).flatten(), torch.tensor(expected))
    sharper = neighbourhood_similarity(attention) ** 3 * attention
    torch.testing.assert_close(conservative_affinity(attention, sharpness=3), sharper)
    torch.testing.assert_close(
        conservative_affinity(attention), neighbourhood_similarity(attention) * attention
    )


def test_the_likeness_of_neighbourhoods_is_their_cosine_whatever_their_magnitude():
    attention = torch.rand(1, 5, 5)
    cosine = torch.nn.functional.cosine_similarity(attention[0][:, None], attention[0][None], dim=-1)
    torch.testing.assert_close(neighbourhood_similarity(attention)[0], cosine)
    torch.testing.assert_close(neighbourhood_similarity(1e-30 * attention)[0], cosine)
    attention[0, 2] = 0
    assert not neighbourhood_similarity(attention)[0, 2].any()


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    steps=st.integers(0, 8),
    restart=st.floats(0, 1),
    seed=st.integers(0, 2**16),
)
def test_scattering_keeps_the_sum_and_gathering_the_range(height, width, steps, restart, seed):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(1, 2, height, width, generator=generator)
    attention = (5 * torch.rand(1, height * width, height * width, generator=generator)).softmax(-1)
    scattered = attention_diffusion(maps, attention, steps=steps, restart=restart)
    gathered = attention_diffusion(maps, attention, steps=steps, restart=restart, direction="gather")
    torch.testing.assert_close(scattered.sum((2, 3)), maps.sum((2, 3)), rtol=1e-4, atol=1e-5)
    assert (gathered <= maps.amax((2, 3), keepdim=True) + 1e-5).all()
    assert (gathered >= maps.amin((2, 3), keepdim=True) - 1e-5).all()


def test_neighbourhoods_are_most_alike_to_themselves():
    similarity = neighbourhood_similarity(torch.rand(2, 9, 9).softmax(-1))
    torch.testing.assert_close(similarity, similarity.mT)
    torch.testing.assert_close(similarity.diagonal(dim1=1, dim2=2), torch.ones(2, 9))
    assert (similarity <= 1).all()


def test_uniform_attention_has_nothing_to_reduce():
    uniform = torch.full((1, 4, 4), 0.25)
    torch.testing.assert_close(conservative_affinity(uniform), uniform)


def two_segments(noise):
    """Attention (1,6,6) within {0,1,2} and within {3,4,5}, and a link from 2 to 3."""
    attention = torch.zeros(1, 6, 6)
    attention[:, :3, :3] = attention[:, 3:, 3:] = 1
    attention[:, 2, 3] = noise
    return attention / attention.sum(-1, keepdim=True)


def test_segments_that_do_not_attend_to_each_other_stay_apart():
    maps = torch.tensor([[[[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]])
    diffused = attention_diffusion(maps, two_segments(noise=0), restart=0)[0, 0]
    torch.testing.assert_close(diffused, torch.tensor([[1 / 3] * 3, [0.0] * 3]))


def test_a_noisy_link_between_segments_carries_less_than_the_attention_alone():
    maps = torch.tensor([[[[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]]])
    leaked = {
        sharpness: float(attention_diffusion(maps, two_segments(0.5), sharpness=sharpness)[..., 1, :].sum())
        for sharpness in (0, 1, 2)
    }
    assert leaked[0] > 2 * leaked[1] > 4 * leaked[2] > 0


@pytest.mark.parametrize("options", [{"restart": 1}, {"steps": 0}])
def test_without_a_step_or_with_full_restart_maps_stay_as_they_are(options):
    maps = torch.rand(1, 2, 2, 3)
    torch.testing.assert_close(attention_diffusion(maps, torch.rand(1, 6, 6), **options), maps)


def test_a_patch_that_attends_to_nothing_keeps_its_activation():
    attention = torch.eye(4)[None].clone()
    attention[0, 2] = 0
    maps = torch.rand(1, 1, 2, 2)
    torch.testing.assert_close(attention_diffusion(maps, attention), maps)


@pytest.mark.parametrize(
    "options", [{"restart": 1.5}, {"restart": -0.1}, {"steps": -1}, {"sharpness": -1}, {"direction": "up"}]
)
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(InputError, match="restart within 0 and 1"):
        attention_diffusion(torch.zeros(1, 1, 1, 2), torch.ones(1, 2, 2), **options)


def test_enlarged_maps_are_refused():
    with pytest.raises(InputError, match="not yet enlarged"):
        attention_diffusion(torch.zeros(1, 1, 8, 8), torch.ones(1, 4, 4))
